/*
 * number.c
 *    Numbers for log rows, from the sequence architect.audit_log_id_seq.
 *
 * nextval() would do but for two things: it becomes what lastval() answers in
 * the application's session, and it gives one number a call.  So the sequence's
 * tuple is advanced here, under the buffer lock and with the rules of nextval():
 * the WAL is some numbers ahead of the buffer, a crash loses those, and the first
 * change after a checkpoint is always logged.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/generic_xlog.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "commands/sequence.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"

#include "audit/audit.h"

/* How many numbers the WAL is ahead. */
#define NUMBERS_AHEAD 128

static Form_pg_sequence_data
sequence_data(Page page)
{
	return (Form_pg_sequence_data)
		((char *) PageGetItem(page, PageGetItemId(page, FirstOffsetNumber)) +
		 ((HeapTupleHeader) PageGetItem(page, PageGetItemId(page, FirstOffsetNumber)))->t_hoff);
}

/*
 * Puts the sequence into the WAL as if numbers up to this one were used.
 */
static void
log_number(Relation sequence, Buffer buffer, int64 number)
{
	GenericXLogState *state;
	Form_pg_sequence_data logged;

	/* So that the commit waits for this record to be safe. */
	GetTopTransactionId();

	state = GenericXLogStart(sequence);
	logged = sequence_data(GenericXLogRegisterBuffer(state, buffer, 0));
	logged->last_value = number;
	logged->is_called = true;
	logged->log_cnt = 0;
	GenericXLogFinish(state);
}

/*
 * Takes so many numbers in a row from the sequence; returns the first.
 */
int64
architect_audit_take_numbers(Oid sequence_id, int count)
{
	Relation	sequence = relation_open(sequence_id, RowExclusiveLock);
	Buffer		buffer = ReadBuffer(sequence, 0);
	Form_pg_sequence_data data;
	int64		first;
	int64		last;
	int64		ahead;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	data = sequence_data(BufferGetPage(buffer));
	first = data->is_called ? data->last_value + 1 : data->last_value;
	last = first + count - 1;
	ahead = data->log_cnt - count;

	if (!data->is_called || ahead < 0 ||
		PageGetLSN(BufferGetPage(buffer)) <= GetRedoRecPtr())
	{
		ahead = NUMBERS_AHEAD;
		log_number(sequence, buffer, last + ahead);
	}

	data->last_value = last;
	data->is_called = true;
	data->log_cnt = ahead;
	MarkBufferDirty(buffer);

	UnlockReleaseBuffer(buffer);
	relation_close(sequence, NoLock);
	return first;
}
