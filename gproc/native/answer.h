/* What the bootstrap says to the front end: lines on standard output, each begun by ANSWER, because the shell before it may
 * have said something of its own. */
#ifndef GPROC_ANSWER_H
#define GPROC_ANSWER_H

#include "sys.h"

#define ANSWER "gproc-start "

/* A line of at most 240 bytes: `word`, and `detail` if it is not empty. */
void answer(const char *word, const char *detail);

/* What is done now, in a clause for a person.  To the front end it is also a sign of life: a node that gives none for some
 * seconds is given up. */
void doing(const char *what);

/* The same, but at most once a second: for each piece of work that was done. */
void still_doing(const char *what);

/* The line for what `failure` holds: "failed", errno, words or "-", and the subject. */
void answer_failed(void);

#endif
