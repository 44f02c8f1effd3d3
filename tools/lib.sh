# shellcheck shell=bash
# What the tools share: packages, a workshop that is always swept, a private server.

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
tree=$(dirname "$tools")
tool=$(basename "$0")
self=$(realpath --relative-to="$tree" "$0")
oldest=15                       # the oldest major that pg_architect supports
PATH=$PATH:/usr/sbin:/sbin
umask 022

say() { printf '\n== %s\n' "$*"; }
die() { printf '%s: %s\n' "$tool" "$*" >&2; exit 1; }

# Downloads fail now and then.
three_times() { "$@" || { sleep 3; "$@"; } || { sleep 10; "$@"; }; }

# ---------------------------------------------------------------- packages

# What a test is skipped without.
extra_packages=pgbouncer

# What building and testing takes, with or without the server of a major.
packages() {
    echo gcc libc6-dev make perl libipc-run-perl \
        ${1:+"postgresql-$1" "postgresql-server-dev-$1" "postgresql-$1-wal2json"}
}

missing() {
    local package
    for package; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || echo "$package"
    done
}

as_root() { if ((EUID)); then sudo -n "$@"; else "$@"; fi; }

# The newest major here that is complete, else the newest here, else the distribution's own.
server_major() {
    local lib=/usr/lib/postgresql found
    found=$(find $lib -path "$lib/*/lib/pgxs" -o -path "$lib/*/bin/postgres" 2>/dev/null |
        awk -F/ -v oldest=$oldest '$5 >= oldest { n[$5]++ } END { for (major in n) print n[major], major }' |
        sort -rn -k1,1 -k2,2 | sed -n '1s/.* //p')
    [[ $found ]] || found=$(apt-cache depends postgresql 2>/dev/null |
        sed -n 's/^ *Depends: postgresql-\([0-9]*\)$/\1/p')
    ((${found:-0} >= oldest)) && echo "$found"
}

# Installs packages.  Meanwhile no new cluster is made and no old one started.
install_packages() {
    as_root env DEBIAN_FRONTEND=noninteractive bash -euo pipefail -s -- "$@" <<'ROOT'
no_cluster=/etc/postgresql-common/createcluster.d/pg_architect.conf
no_start=/usr/sbin/policy-rc.d
made=("$no_cluster")
trap 'rm -f "${made[@]}"; rmdir --ignore-fail-on-non-empty -p "${no_cluster%/*}" 2>/dev/null || true' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "${no_cluster%/*}"
echo 'create_main_cluster = false' >"$no_cluster"
if [[ ! -e $no_start ]]; then
    made+=("$no_start")
    printf '#!/bin/sh\nexit 101\n' >"$no_start"
    chmod +x "$no_start"
fi
apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends "$@" </dev/null >/dev/null
ROOT
}

# need_packages PACKAGE...: installs those that are missing if we may, else says how and stops.
need_packages() {
    local wanted
    read -ra wanted <<<"$(missing "$@" | paste -sd ' ')"
    ((${#wanted[@]})) || return 0
    as_root true 2>/dev/null || die "packages are missing.  Install them with:
  sudo apt-get install --no-install-recommends ${wanted[*]}"
    say "installing ${wanted[*]}"
    three_times as_root apt-get -qq update
    three_times install_packages "${wanted[@]}" || die "cannot install ${wanted[*]}"
}

# want_packages PACKAGE...: installs those that are missing if we may; what needs them is skipped
# where they cannot be had.
want_packages() {
    local wanted
    read -ra wanted <<<"$(missing "$@" | paste -sd ' ')"
    ((${#wanted[@]})) && as_root true 2>/dev/null || return 0
    say "installing ${wanted[*]}"
    three_times as_root apt-get -qq update || true
    install_packages "${wanted[@]}" || say "cannot install ${wanted[*]}, going on without"
}

# Sets PG_CONFIG to the server to test with, which is installed with all else if it is missing.
need_server() {
    local major='' wanted
    if [[ ${PG_CONFIG-} ]]; then
        command -v "$PG_CONFIG" >/dev/null || die "PG_CONFIG=$PG_CONFIG: no such program"
        PG_CONFIG=$(realpath "$(command -v "$PG_CONFIG")")
    elif ! major=$(server_major); then
        as_root true 2>/dev/null && three_times as_root apt-get -qq update
        major=$(server_major) || die "no package of PostgreSQL $oldest or newer is known here.  Try:
  sudo apt-get update
  sudo apt-get install --no-install-recommends $(packages) postgresql postgresql-server-dev-all"
    fi
    read -ra wanted <<<"$(packages "$major")"
    need_packages "${wanted[@]}"
    export PG_CONFIG=${PG_CONFIG-/usr/lib/postgresql/$major/bin/pg_config}
}

# ---------------------------------------------------------------- workshop

# True in a tool that open_workshop started; it then goes to the workshop.
in_workshop() {
    [[ ${ARCHITECT_WORKSHOP-} && $tools == "$ARCHITECT_WORKSHOP"/src/tools ]] || return 1
    work=$ARCHITECT_WORKSHOP
    { cd "$work" && echo $$ >group; } || exit
    local name
    for name in MAKEFLAGS MAKELEVEL MFLAGS "${!PG@}"; do
        [[ $name == PG_CONFIG ]] || unset "$name"
    done
    export HOME=$work TMPDIR=$work LC_ALL=C.UTF-8
}

# Copies the tree without what .gitignore names, so that it stays as it is.
copy_tree() {
    mkdir "$1"
    tar -C "$tree" -cf - --exclude=.git \
        --exclude-from=<(sed '/^#/d; /^$/d; s,^/,./,; s,/$,,' "$tree/.gitignore") . | tar -C "$1" -xf -
}

# open_workshop USER ARGUMENT...: copies the tree to a new directory, runs this tool
# again from there as USER (ours, if we are not root) and ends with its status.  At
# the other end of a pipe the sweeper waits until we are gone, however that comes
# about, then ends what still runs and removes the directory.
open_workshop() {
    local user=$1 become=()
    shift
    ((EUID)) || [[ $user == root ]] ||
        become=(setpriv --reuid="$user" --regid="$(id -g "$user")" --init-groups)
    work=$(realpath "$(mktemp -d /tmp/pga.XXXXXX)")
    copy_tree "$work/src"
    ((EUID)) || chown -R "$user:" "$work"
    exec {alive}> >(exec setsid "${become[@]}" bash "$work/src/tools/sweep" "$work" >/dev/null 2>&1)
    local sweeper=$!
    trap 'exec {alive}>&-; wait $sweeper || true' EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    ARCHITECT_WORKSHOP=$work setsid "${become[@]}" \
        "$work/src/$self" "$@" {alive}>&- </dev/null &
    local status=0
    wait $! || status=$?
    exit $status
}

server_user() { if getent passwd postgres >/dev/null; then echo postgres; else echo nobody; fi; }

# ---------------------------------------------------------------- private server

# Mirrors the server under the workshop and sets PG_CONFIG and bindir to the mirror's.
# PostgreSQL's programs look for the rest relative to where they are, so the programs
# are copies; the rest is links.  What is installed there is nobody else's.
mirror_server() {
    local dir
    bindir=$("$PG_CONFIG" --bindir)
    for dir in "$bindir" $("$bindir/pg_config" --pkglibdir --sharedir --includedir-server); do
        mkdir -p "$work/server$dir"
        if [[ $dir == "$bindir" ]]; then
            cp -a "$dir/." "$work/server$dir"
        else
            cp -rs "$dir/." "$work/server$dir"
        fi
    done
    find "$work/server" -name 'pg_architect*' -prune -exec rm -r {} +
    bindir=$work/server$bindir
    export PG_CONFIG=$bindir/pg_config PATH=$bindir:$PATH
}

# Builds the copied tree in DIR, out of tree: build DIR ARGUMENT-OF-MAKE...
build() {
    local dir=$1
    shift
    mkdir -p "$dir"
    make -C "$dir" -s -j"$(nproc)" -f "$work/src/Makefile" PG_CONFIG="$PG_CONFIG" "$@"
}

# start_cluster SETTING...: a throw-away cluster, reached through PGHOST, PGPORT and PGUSER.
start_cluster() {
    initdb -D "$work/data" -U postgres -A trust --locale=C.UTF-8 -E UTF8 --no-sync >"$work/initdb.log" ||
        { cat "$work/initdb.log" >&2; die 'initdb failed'; }
    printf '%s\n' >>"$work/data/postgresql.conf" "listen_addresses = ''" "unix_socket_directories = '$work'" \
        'port = 5439' 'fsync = off' 'max_prepared_transactions = 10' "$@"
    export PGHOST=$work PGPORT=5439 PGUSER=postgres
    pg_ctl -D "$work/data" -l "$work/server.log" -s -w start ||
        { tail -n 20 "$work/server.log" >&2; die 'the server does not start'; }
}
