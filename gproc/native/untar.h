/* A runtime's archive unpacked, as its bytes come: directories and plain files, nothing else.
 *
 * The directory that it is unpacked into is new, and nobody else can write there: no name in it leads through a link,
 * because none is ever made.  Names are relative and have no "." or "..", sizes and counts are bounded, and every
 * file is written whole or the whole is given up.  runtime/archive.py makes such archives.
 */
#ifndef GPROC_UNTAR_H
#define GPROC_UNTAR_H

#include "sys.h"

#define UNTAR_BLOCK_BYTES 512u
#define UNTAR_NAME_BYTES_MAX 100u
#define UNTAR_ENTRIES_MAX 20000u     /* a runtime has 500 */
#define UNTAR_BYTES_MAX (256u << 20) /* a runtime has 26 MB */

/* Unpack into the directory `into`. */
void untar_begin(int into);

/* Whether `size` more bytes were taken.  If not, `failure` says why. */
bool untar_take(const uint8_t *bytes, size_t size);

/* Whether the archive came to its end. */
bool untar_is_whole(void);

/* Nothing more comes. */
void untar_close(void);

#endif
