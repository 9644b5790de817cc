#include "sha256.h"

static void write_word(uint8_t *at, uint32_t word) {
    for (unsigned index = 0; index < 4; index++) {
        at[index] = (uint8_t)(word >> (24 - 8 * index));
    }
}

void sha256_begin(struct sha256 *sha) {
    static const uint32_t first[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(sha->state, first, sizeof first);
    sha->taken = 0;
    sha->add = sha_by_processor();
    if (sha->add == NULL) {
        sha->add = sha_by_anything;
    }
}

void sha256_take(struct sha256 *sha, const uint8_t *bytes, size_t size) {
    size_t used = sha->taken % SHA_BLOCK_BYTES;
    sha->taken += size;
    if (used > 0) {
        size_t part = SHA_BLOCK_BYTES - used < size ? SHA_BLOCK_BYTES - used : size;
        memcpy(sha->block + used, bytes, part);
        if (used + part < SHA_BLOCK_BYTES) {
            return;
        }
        sha->add(sha->state, sha->block, 1);
        bytes += part;
        size -= part;
    }
    sha->add(sha->state, bytes, size / SHA_BLOCK_BYTES);
    memcpy(sha->block, bytes + size - size % SHA_BLOCK_BYTES, size % SHA_BLOCK_BYTES);
}

void sha256_end(struct sha256 *sha, uint8_t digest[SHA256_BYTES]) {
    static const uint8_t padding[SHA_BLOCK_BYTES] = {0x80};
    uint64_t bits = sha->taken * 8;
    uint8_t length[8];
    size_t used = sha->taken % SHA_BLOCK_BYTES;
    write_word(length, (uint32_t)(bits >> 32));
    write_word(length + 4, (uint32_t)bits);
    sha256_take(sha, padding, (used < 56 ? 56 : 120) - used);
    sha256_take(sha, length, sizeof length);
    for (unsigned index = 0; index < 8; index++) {
        write_word(digest + 4 * index, sha->state[index]);
    }
}
