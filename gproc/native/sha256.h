/* SHA-256, FIPS 180-4: what names a runtime. */
#ifndef GPROC_SHA256_H
#define GPROC_SHA256_H

#include "shablocks.h"

#define SHA256_BYTES 32u

struct sha256 {
    uint32_t state[8];
    uint64_t taken; /* bytes so far */
    sha_blocks *add;
    uint8_t block[SHA_BLOCK_BYTES];
};

void sha256_begin(struct sha256 *sha);
void sha256_take(struct sha256 *sha, const uint8_t *bytes, size_t size);
void sha256_end(struct sha256 *sha, uint8_t digest[SHA256_BYTES]);

#endif
