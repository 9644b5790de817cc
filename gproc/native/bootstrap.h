/* `gproc-helper bootstrap DIRECTORY`: a slave on a node that has a kernel, a shell and sshd, and nothing else.
 *
 * DIRECTORY is ours, and this program lies in it.  On standard input, all numbers little-endian:
 *
 *     header   "gpb1", u32 length of the words, u64 length of the archive, u32 length of the secret, u32 flags,
 *              32 bytes: SHA-256 of the archive, 16 bytes: the token of nodes that may get the archive from here
 *     words    texts, each with its NUL: the slave's name, then what follows `gproc` on its command line
 *     orders   one after each answer "need OFFSET PORT WHY": where the rest of the archive comes from, supply.h.  Behind
 *              the order GIVE comes the rest itself: gzip of tar, runtime/archive.py
 *     secret   what the slave reads from a pipe, after the answer "have PORT"; it is in no argument, environment or file
 *
 * Then standard input stays open while the slave is being started; if it ends, the slave is ended.  If the archive comes
 * in this run, other nodes get it at PORT (serve.h), from the first "need" until standard input ends; PORT is 0 if they
 * cannot.  Answers are lines on standard output, answer.h: have, need, found PID (a slave that is there, unless flags say
 * to replace it), ready TEXT, ended STATUS, abandoned, failed, and doing WHAT, as a sign of life.
 *
 * `gproc-helper stop DIRECTORY NAME` ends the slave of that name.  Answers: stopped, none, failed.
 *
 * `gproc-helper idle DIRECTORY` ends with 0 if no slave of any name runs from there; else it answers "kept WHY", and
 * ends with 3.
 */
#ifndef GPROC_BOOTSTRAP_H
#define GPROC_BOOTSTRAP_H

#include "sys.h"

#define BOOTSTRAP_FORMAT "gpb1"

/* The exit status. */
int bootstrap_run(const char *directory, char **environment);

int bootstrap_look(const char *directory);

int bootstrap_stop(const char *directory, const char *name);

#endif
