# shellcheck shell=bash
# What the benchmarks share: a private server, and times that become medians and ratios.

. "$(dirname "${BASH_SOURCE[0]}")/../tools/lib.sh"

# open_bench ARGUMENT...: goes on in a workshop and takes --runs and --rows, for which the
# script has set runs and rows.
open_bench() {
    if ! in_workshop; then
        need_server
        open_workshop "$(server_user)" "$@"
    fi
    while (($#)); do
        [[ ${2-} =~ ^[1-9][0-9]*$ ]] || set -- ''
        case $1 in
            --runs) runs=$2 ;;
            --rows) rows=$2 ;;
            *) die "usage: bench/$tool [--runs N] [--rows N]" ;;
        esac
        shift 2
    done
}

# start_server SETTING...: a cluster with the extension installed, and nothing of its own going on.
start_server() {
    mirror_server
    build "$work/build" -O all
    build "$work/build" install >/dev/null
    start_cluster 'shared_buffers = 1GB' 'max_wal_size = 16GB' 'checkpoint_timeout = 1h' 'autovacuum = off' "$@"
}

# make_tables: schemas plain, recipe and ours, each with an empty table, and the view source.
make_tables() { psql -X -q -v rows="$rows" -f "$work/src/bench/audit.sql"; }

run() { psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"; }

# milliseconds STATEMENT [BEFORE...]: wall-clock time of one statement in a session of its own;
# BEFORE, which is not timed, is run first.  A transaction begun there is rolled back.
milliseconds() {
    local statement=$1 before=()
    for ((; $# > 1; )); do
        before+=(-c "$2")
        set -- "$1" "${@:3}"
    done
    run "${before[@]}" -c '\timing on' -c "$statement" | sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p'
}

# own_memory STATEMENT: megabytes that a session takes for a statement beyond what it had before, shared memory
# aside; looked at a hundred times a second.
own_memory() {
    local peer pid before most=0
    private() { awk '/^RssAnon/ { print $2 / 1024 }' "/proc/$pid/status"; }
    coproc session { psql -X -q -A -t; }
    peer=$session_PID
    echo 'SELECT pg_backend_pid();' >&"${session[1]}"
    read -r pid <&"${session[0]}"
    before=$(private)
    echo "$1; SELECT 1;" >&"${session[1]}"
    until read -r -t 0.01 _ <&"${session[0]}"; do
        most=$(awk -v a="$most" -v b="$(private)" 'BEGIN { print (a > b ? a : b) }')
    done
    echo '\q' >&"${session[1]}"
    wait "$peer"
    awk -v a="$most" -v b="$before" 'BEGIN { print a - b }'
}

# note NAME VALUE...: keeps a measurement.
note() { printf '%s\n' "${@:2}" >>"$work/figures.$1"; }

# percentile NAME PERCENT: of the measurements kept under a name.
percentile() {
    sort -g "$work/figures.$1" | awk -v p="$2" '{ v[NR] = $1 }
        END { at = 1 + (NR - 1) * p / 100; low = int(at); print v[low] + (at - low) * (v[low + (low < NR)] - v[low]) }'
}
median() { percentile "$1" 50; }

# show NAME VALUE UNIT [TARGET]: a figure and whether it is what we want ("<=1", ">=200000").
show() {
    awk -v name="$1" -v value="$2" -v unit="$3" -v target="${4-}" 'BEGIN {
        limit = substr(target, 3) + 0
        met = target ~ /^</ ? value + 0 <= limit : value + 0 >= limit
        printf "%-62s %12.*f %-6s %s\n", name, value < 10 ? 3 : value < 1000 ? 1 : 0, value, unit,
            target == "" ? "" : target (met ? " met" : " MISSED")
    }'
}

# line NAME VALUE BASE [TARGET]: a ratio, likewise.
line() {
    awk -v name="$1" -v value="$2" -v base="$3" -v target="${4-}" 'BEGIN {
        ratio = value / base
        limit = substr(target, 3) + 0
        met = target ~ /^</ ? ratio <= limit : ratio >= limit
        digits = base < 10 ? 3 : 1
        printf "%-62s %10.*f / %10.*f = %7.3f  %s\n", name, digits, value, digits, base, ratio,
            target == "" ? "" : target (met ? " met" : " MISSED")
    }'
}

# rate NAME ROWS MILLISECONDS [TARGET]: rows a second.
rate() { show "$1" "$(awk -v rows="$2" -v ms="$3" 'BEGIN { printf "%.0f", rows / ms * 1000 }')" rows/s "${4-}"; }

# summary: what the figures that follow come from.
summary() { say "medians of $runs runs, $rows rows, $("$PG_CONFIG" --version)"; }

# same WHAT ONE OTHER: stops when a result is not what it should be.
same() { [[ $2 == "$3" ]] || die "$1: $2, not $3"; }
