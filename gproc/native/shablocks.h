/* The blocks of SHA-256, by C for any processor, or by a processor's own instructions, which take a fifth of the time. */
#ifndef GPROC_SHABLOCKS_H
#define GPROC_SHABLOCKS_H

#include "sys.h"

#define SHA_BLOCK_BYTES 64u

/* Add `count` blocks to the state. */
typedef void sha_blocks(uint32_t state[8], const uint8_t *blocks, size_t count);

extern const uint32_t sha_constants[64];

sha_blocks sha_by_anything;

/* NULL if this processor has no instructions for it, or none that we know. */
sha_blocks *sha_by_processor(void);

#endif
