/* The bits of a compressed archive, in order: the lowest of each byte comes first. */
#ifndef GPROC_BITS_H
#define GPROC_BITS_H

#include "sys.h"

#define BITS_HELD 48u /* after a refill, at least; RFC 1951 has a length, 15 and 5 bits, with a distance, 15 and 13 */

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* The next bytes, at least one; 0 at their end or at a failure. */
typedef size_t (*bits_source)(const uint8_t **bytes);

/* Where we are.  Functions copy it to a variable of theirs, which the compiler keeps in registers. */
struct bits {
    uint64_t held; /* the lowest is next; above `count` there may be some of the bytes at `next` already */
    unsigned count;
    const uint8_t *next, *end;
};

struct bits bits_begin(bits_source source);

/* Whether there are bytes at `next`.  If not, `failure` says why. */
bool bits_have_bytes(struct bits *bits);

/* With BITS_HELD bits; fewer at the end, and then `failure` says so. */
struct bits bits_with_bytes(struct bits bits);

/* Whether BITS_HELD bits are held now.  The frame of an archive has 64 bits behind the last code: only one that ends too early
 * has too few. */
ALWAYS_INLINE bool bits_refill(struct bits *bits) {
    if (bits->end - bits->next >= (ptrdiff_t)sizeof bits->held) {
        uint64_t word; /* both of our machines have the lowest byte first */
        __builtin_memcpy(&word, bits->next, sizeof word);
        bits->held |= word << bits->count;
        bits->next += (63 - bits->count) / 8;
        bits->count |= 56;
        return true;
    }
    /* By value: what a pointer to is given away is not in registers. */
    *bits = bits_with_bytes(*bits);
    return bits->count >= BITS_HELD;
}

/* As many as that are held. */
ALWAYS_INLINE uint32_t bits_take(struct bits *bits, unsigned count) {
    uint32_t taken = (uint32_t)(bits->held & ((1u << count) - 1));
    bits->held >>= count;
    bits->count -= count;
    return taken;
}

#endif
