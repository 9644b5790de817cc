#include "shablocks.h"

/* FIPS 180-4, 4.2.2: the first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
const uint32_t sha_constants[64] = {
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

/* 6.2.2, step 3: of its eight variables only two change, and the others change their names. */
static inline void round_of(uint32_t a, uint32_t b, uint32_t c, uint32_t *d, uint32_t e, uint32_t f, uint32_t g, uint32_t *h,
                            uint32_t added) {
    uint32_t one = *h + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) + ((e & f) ^ (~e & g)) + added;
    uint32_t two = (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
    *d += one;
    *h = one + two;
}

static void add_block(uint32_t state[8], const uint8_t *block) {
    uint32_t words[64];
    for (unsigned t = 0; t < 16; t++) {
        words[t] = word_at(block + 4 * t);
    }
    for (unsigned t = 16; t < 64; t++) {
        uint32_t one = words[t - 15], two = words[t - 2];
        words[t] = (rotated(two, 17) ^ rotated(two, 19) ^ two >> 10) + words[t - 7] +
                   (rotated(one, 7) ^ rotated(one, 18) ^ one >> 3) + words[t - 16];
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], f = state[5], g = state[6], h = state[7];
    for (unsigned t = 0; t < 64; t += 8) {
        const uint32_t *constant = sha_constants + t, *word = words + t;
        round_of(a, b, c, &d, e, f, g, &h, constant[0] + word[0]);
        round_of(h, a, b, &c, d, e, f, &g, constant[1] + word[1]);
        round_of(g, h, a, &b, c, d, e, &f, constant[2] + word[2]);
        round_of(f, g, h, &a, b, c, d, &e, constant[3] + word[3]);
        round_of(e, f, g, &h, a, b, c, &d, constant[4] + word[4]);
        round_of(d, e, f, &g, h, a, b, &c, constant[5] + word[5]);
        round_of(c, d, e, &f, g, h, a, &b, constant[6] + word[6]);
        round_of(b, c, d, &e, f, g, h, &a, constant[7] + word[7]);
    }
    const uint32_t made[8] = {a, b, c, d, e, f, g, h};
    for (unsigned index = 0; index < 8; index++) {
        state[index] += made[index];
    }
}

void sha_by_anything(uint32_t state[8], const uint8_t *blocks, size_t count) {
    for (; count > 0; count--, blocks += SHA_BLOCK_BYTES) {
        add_block(state, blocks);
    }
}
