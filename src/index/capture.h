/*
 * capture.h
 *    Statements as clients ran them, with their values: a sample in shared memory.
 *
 * A sighting is one run of a statement that was looked at.  Of each query id, database and
 * role there is an entry, which has counts and a few examples.
 */
#ifndef ARCHITECT_INDEX_CAPTURE_H
#define ARCHITECT_INDEX_CAPTURE_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

#define CAPTURE_EXAMPLES 3

/* Bytes of a text with its search_path, and of the values of its parameters. */
#define CAPTURE_MOST_TEXT (16 * 1024)
#define CAPTURE_MOST_VALUES (8 * 1024)

/* What became of an example. */
typedef enum CaptureOutcome
{
	CAPTURE_WHOLE,
	CAPTURE_LONG_TEXT,			/* it has no bytes */
	CAPTURE_LONG_VALUES,		/* it has no values */
	CAPTURE_FAILED_VALUES,		/* likewise: their output functions raised an error */
	CAPTURE_UNCLEAR_TEXT,		/* nothing was kept */
	CAPTURE_BUSY,				/* likewise: others had the lock */
	CAPTURE_OUTCOMES
} CaptureOutcome;

typedef struct CaptureKey
{
	int64		query_id;
	Oid			database;
	Oid			role;
} CaptureKey;

/* The bytes of an example are text, search_path, each with its '\0', and values. */
typedef struct CaptureExample
{
	CaptureOutcome outcome;
	int32		text_length;
	int32		path_length;
	int32		length;			/* of all */
	int32		nvalues;
	int32		first;			/* block of the bytes */
	int64		times;			/* that it stands for */
	TimestampTz taken_at;
} CaptureExample;

typedef struct CaptureCounts
{
	int64		seen;			/* sightings */
	double		seen_milliseconds;
	double		calls;			/* estimated from those that were drawn */
	double		milliseconds;	/* of these, likewise */
} CaptureCounts;

/* A copy, out of shared memory. */
typedef struct CaptureEntry
{
	CaptureKey	key;
	CaptureCounts counts;
	int			nexamples;
	CaptureExample examples[CAPTURE_EXAMPLES];
	char	   *bytes[CAPTURE_EXAMPLES];
} CaptureEntry;

typedef struct CaptureSighting
{
	CaptureKey	key;
	double		weight;			/* calls that it stands for; 0: it was not drawn */
	double		milliseconds;
	CaptureExample example;
	const char *bytes;
} CaptureSighting;

typedef struct CaptureStatus
{
	int			entries;
	int			most_entries;
	int64		bytes;			/* in use for examples */
	int64		most_bytes;
	int64		sightings;
	int64		evicted;		/* entries */
	int64		outcomes[CAPTURE_OUTCOMES]; /* of sightings; WHOLE is not counted */
	TimestampTz since;
} CaptureStatus;

/* capture.c */
extern void architect_capture_init(void);
extern const char *architect_capture_problem(void);

/* capture_store.c */
extern void architect_capture_reserve(int kilobytes);
extern bool architect_capture_has_store(void);
extern int32 architect_capture_most_bytes(void);
extern void architect_capture_note(const CaptureSighting *sighting);
extern void architect_capture_count(CaptureOutcome outcome);
extern bool architect_capture_copy(int number, CaptureEntry *entry);
extern void architect_capture_status(CaptureStatus *status);
extern void architect_capture_clear(void);

/* capture_show.c */
extern List *architect_capture_read(void);

#endif							/* ARCHITECT_INDEX_CAPTURE_H */
