#include "sha256.h"

/* FIPS 180-4, 4.2.2: the first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
static const uint32_t constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotated(uint32_t word, unsigned by) {
    return (word >> by) | (word << (32 - by));
}

static uint32_t word_at(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void write_word(uint8_t *at, uint32_t word) {
    for (unsigned index = 0; index < 4; index++) {
        at[index] = (uint8_t)(word >> (24 - 8 * index));
    }
}

static void compress(uint32_t state[8], const uint8_t *block) {
    uint32_t schedule[64], w[8];
    for (unsigned t = 0; t < 16; t++) {
        schedule[t] = word_at(block + 4 * t);
    }
    for (unsigned t = 16; t < 64; t++) {
        uint32_t a = schedule[t - 15], b = schedule[t - 2];
        schedule[t] = (rotated(b, 17) ^ rotated(b, 19) ^ b >> 10) + schedule[t - 7] +
                      (rotated(a, 7) ^ rotated(a, 18) ^ a >> 3) + schedule[t - 16];
    }
    memcpy(w, state, sizeof w);
    for (unsigned t = 0; t < 64; t++) {
        uint32_t one = w[7] + (rotated(w[4], 6) ^ rotated(w[4], 11) ^ rotated(w[4], 25)) +
                       ((w[4] & w[5]) ^ (~w[4] & w[6])) + constants[t] + schedule[t];
        uint32_t two = (rotated(w[0], 2) ^ rotated(w[0], 13) ^ rotated(w[0], 22)) +
                       ((w[0] & w[1]) ^ (w[0] & w[2]) ^ (w[1] & w[2]));
        for (unsigned index = 7; index > 0; index--) {
            w[index] = w[index - 1];
        }
        w[4] += one;
        w[0] = one + two;
    }
    for (unsigned index = 0; index < 8; index++) {
        state[index] += w[index];
    }
}

void sha256_begin(struct sha256 *sha) {
    static const uint32_t first[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(sha->state, first, sizeof first);
    sha->taken = 0;
}

void sha256_take(struct sha256 *sha, const uint8_t *bytes, size_t size) {
    while (size > 0) {
        size_t used = sha->taken % SHA256_BLOCK_BYTES;
        size_t part = SHA256_BLOCK_BYTES - used < size ? SHA256_BLOCK_BYTES - used : size;
        if (part == SHA256_BLOCK_BYTES) {
            compress(sha->state, bytes);
        } else {
            memcpy(sha->block + used, bytes, part);
            if (used + part == SHA256_BLOCK_BYTES) {
                compress(sha->state, sha->block);
            }
        }
        sha->taken += part;
        bytes += part;
        size -= part;
    }
}

void sha256_end(struct sha256 *sha, uint8_t digest[SHA256_BYTES]) {
    static const uint8_t padding[SHA256_BLOCK_BYTES] = {0x80};
    uint64_t bits = sha->taken * 8;
    uint8_t length[8];
    size_t used = sha->taken % SHA256_BLOCK_BYTES;
    write_word(length, (uint32_t)(bits >> 32));
    write_word(length + 4, (uint32_t)bits);
    sha256_take(sha, padding, (used < 56 ? 56 : 120) - used);
    sha256_take(sha, length, sizeof length);
    for (unsigned index = 0; index < 8; index++) {
        write_word(digest + 4 * index, sha->state[index]);
    }
}
