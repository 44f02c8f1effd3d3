/*
 * number.c
 *    Numbers for log rows, from the sequence architect.audit_log_id_seq.
 *
 * nextval() would do but for two things: it becomes what lastval() answers in
 * the application's session, and it gives one number a call.  So the sequence's
 * tuple is advanced here, under the buffer lock, with the rules and the WAL record
 * of nextval(): the WAL is some numbers ahead of the buffer, a crash loses those,
 * and the first change after a checkpoint is always logged.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "access/xloginsert.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"

#include "audit/audit.h"

/* How many numbers the WAL is ahead. */
#define NUMBERS_AHEAD 128

/*
 * The sequence's one tuple, and its data, in the locked buffer.
 */
static Form_pg_sequence_data
sequence_data(Buffer buffer, HeapTupleData *tuple)
{
	Page		page = BufferGetPage(buffer);
	ItemId		item = PageGetItemId(page, FirstOffsetNumber);

	Assert(ItemIdIsNormal(item));
	tuple->t_data = (HeapTupleHeader) PageGetItem(page, item);
	tuple->t_len = ItemIdGetLength(item);
	return (Form_pg_sequence_data) GETSTRUCT(tuple);
}

/*
 * Puts the tuple as it is now into the WAL.
 */
static void
log_tuple(Relation sequence, Buffer buffer, HeapTupleData *tuple)
{
	xl_seq_rec	record = architect_sequence_record(sequence);
	XLogRecPtr	position;

	XLogBeginInsert();
	XLogRegisterBuffer(0, buffer, REGBUF_WILL_INIT);
	XLogRegisterData((char *) &record, sizeof(record));
	XLogRegisterData((char *) tuple->t_data, tuple->t_len);
	position = XLogInsert(RM_SEQ_ID, XLOG_SEQ_LOG);
	PageSetLSN(BufferGetPage(buffer), position);
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
	bool		must_log;
	HeapTupleData tuple;

	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	data = sequence_data(buffer, &tuple);
	first = data->is_called ? data->last_value + 1 : data->last_value;
	last = first + count - 1;
	ahead = data->log_cnt - count;
	must_log = RelationNeedsWAL(sequence) &&
		(!data->is_called || ahead < 0 || PageGetLSN(BufferGetPage(buffer)) <= GetRedoRecPtr());

	/* So that the commit waits for the record to be safe. */
	if (must_log)
		GetTopTransactionId();

	START_CRIT_SECTION();
	MarkBufferDirty(buffer);
	data->is_called = true;
	if (must_log)
	{
		ahead = NUMBERS_AHEAD;
		data->last_value = last + ahead;
		data->log_cnt = 0;
		log_tuple(sequence, buffer, &tuple);
	}
	data->last_value = last;
	data->log_cnt = Max(ahead, 0);
	END_CRIT_SECTION();

	UnlockReleaseBuffer(buffer);
	relation_close(sequence, NoLock);
	return first;
}
