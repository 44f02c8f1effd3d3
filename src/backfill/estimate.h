/*
 * estimate.h
 *    What a sample of a table tells of a backfill.
 */
#ifndef ARCHITECT_BACKFILL_ESTIMATE_H
#define ARCHITECT_BACKFILL_ESTIMATE_H

#include "postgres.h"

#include "storage/block.h"
#include "utils/rel.h"

#include "backfill/backfill.h"

/* A page as it is before. */
typedef struct BackfillPage
{
	double		rows;
	double		matching;		/* rows to be changed */
	double		bytes;			/* of all rows */
	double		free;
} BackfillPage;

/* A sample of one relation.  Times are in ms. */
typedef struct BackfillSample
{
	BlockNumber blocks;			/* of the relation */

	/* Of what was only read: */
	BackfillPage *pages;
	int64		npages;
	int64		room;			/* for so many */
	double		rows;
	double		matching;
	double		cold_time;		/* of finding the rows */

	/* Of what was changed, twice, and rolled back: */
	int64		windows;		/* tried */
	int64		failed;			/* of them: a row could not be changed */
	ErrorData  *error;			/* the first one */
	BlockNumber changed_pages;
	double		changed;		/* rows */
	double		hot;			/* of them */
	double		bytes;			/* of the new versions */
	double		scan_time;		/* of finding the rows, and what to set */
	double		trigger_time;
	double		write_time;
	double		wal;			/* bytes without images of pages */
	double		image_wal;		/* bytes of images */
	double		images;
	double		toast_blocks;
} BackfillSample;

/* sample.c */
extern void architect_backfill_sample(Relation rel, const BackfillAssignment *what, bool guarded, double share,
									  BackfillSample *sample);

#endif							/* ARCHITECT_BACKFILL_ESTIMATE_H */
