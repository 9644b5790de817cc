/* What went wrong, kept until it can be told: one at a time, the first that counts. */
#ifndef GPROC_FAILURE_H
#define GPROC_FAILURE_H

#include "sys.h"

/* Where a job can fail; launch/operations.py has the same order. */
enum stage { STAGE_LAUNCHER, STAGE_VIEW, STAGE_LIMITS, STAGE_IDENTITY, STAGE_CWD, STAGE_EXEC };

/* A path in a message may have PATH_MAX bytes, but a report is one short message. */
#define SUBJECT_BYTES_MAX 480

struct failure {
    enum stage stage;
    int code;                         /* errno */
    const char *words;                /* what there is to say beside the errno; may be NULL */
    char subject[SUBJECT_BYTES_MAX];  /* the path or the call that it is about */
};

extern struct failure failure;

/* From here on, what fails belongs to this stage. */
void begin_stage(enum stage stage);

/* Note a failure of the kernel's (`result` is what a call returned) or of ours (a negative errno).  Always false. */
bool fail(long result, const char *words, const char *subject);

/* The same for `name` in the directory `base`. */
bool fail_below(long result, const char *words, const char *base, const char *name);

/* Whether what failed did so because the disk is full, or what this user may have of it. */
bool for_want_of_room(void);

#endif
