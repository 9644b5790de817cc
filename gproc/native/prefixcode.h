/* A prefix code of DEFLATE: which symbol the next bits are, in one step or two. */
#ifndef GPROC_PREFIXCODE_H
#define GPROC_PREFIXCODE_H

#include "bits.h"

#define CODE_BITS_MAX 15u
#define CODE_SYMBOLS_MAX 288u

/* By measurement: tables by 9 and by 11 bits are slower to use, or to make. */
#define ROOT_BITS 10u
#define REST_BITS (CODE_BITS_MAX - ROOT_BITS)

/* What a code means.  kind: up to MORE_BITS_MAX: that to `value` so many more bits are added; or one of those below. */
struct meaning {
    uint16_t value;
    uint8_t kind, bits; /* bits: of the code */
};
#define MORE_BITS_MAX 13u
#define LITERAL 32u
#define END 33u
#define LONGER 34u /* the rest of the code is looked up from `value` on */
#define NO_CODE 35u

/* By the next ROOT_BITS bits.  Behind them are tables by the rest of longer codes, at most one for each symbol. */
struct code {
    struct meaning table[(1u << ROOT_BITS) + (CODE_SYMBOLS_MAX << REST_BITS)];
};

typedef struct meaning code_meaning(uint32_t symbol);

/* RFC 1951 3.2.2: the code that gives each symbol so many bits, 0 to CODE_BITS_MAX.  `false`: more symbols have a code than
 * there are codes.  Those that no symbol has mean NO_CODE. */
bool code_make(struct code *code, const uint8_t *bit_lengths, uint32_t symbols, code_meaning *meaning_of);

/* CODE_BITS_MAX bits are held. */
ALWAYS_INLINE struct meaning code_take(const struct code *code, struct bits *bits) {
    struct meaning found = code->table[bits->held & ((1u << ROOT_BITS) - 1)];
    if (found.kind == LONGER) {
        found = code->table[found.value + (bits->held >> ROOT_BITS & ((1u << REST_BITS) - 1))];
    }
    bits->held >>= found.bits;
    bits->count -= found.bits;
    return found;
}

#endif
