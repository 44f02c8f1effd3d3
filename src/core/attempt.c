/*
 * attempt.c
 *    Does something in a subtransaction, so that an error ends that alone.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "core/core.h"

/*
 * True for what is raised to end it all.  What takes too much memory, or too many locks,
 * has given them back with its subtransaction.
 */
static bool
is_canceled(const ErrorData *error)
{
	int			category = ERRCODE_TO_CATEGORY(error->sqlerrcode);

	return category == ERRCODE_OPERATOR_INTERVENTION ||
		(category == ERRCODE_INSUFFICIENT_RESOURCES && error->sqlerrcode != ERRCODE_OUT_OF_MEMORY);
}

/*
 * What is raised to end it all goes on when the subtransaction has ended: the session
 * would be left in it.
 */
static ErrorData *
attempt(ArchitectTask task, void *argument, bool keeps)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorContextCallback *callbacks = error_context_stack;
	ErrorData  *volatile error = NULL;

	/* Those around would have the error's position be one in a query of theirs. */
	error_context_stack = NULL;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		task(argument);
		if (keeps)
			ReleaseCurrentSubTransaction();
		else
			RollbackAndReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	error_context_stack = callbacks;
	if (error != NULL && is_canceled(error))
		ReThrowError(error);
	return error;
}

/*
 * Does what may raise an error in a subtransaction; returns the error, or NULL.  What
 * was locked stays so.
 */
ErrorData *
architect_attempt(ArchitectTask task, void *argument)
{
	return attempt(task, argument, true);
}

/*
 * Likewise, and leaves no trace but in memory: what was locked is released.
 */
ErrorData *
architect_try_out(ArchitectTask task, void *argument)
{
	return attempt(task, argument, false);
}
