#include "shablocks.h"

/* gcc looks for the stack's guard of such a function in the thread's own block, which only a libc makes; -mstack-protector-guard
 * is not heard there. */
#if __has_attribute(no_stack_protector)
#define WITH(instructions) __attribute__((target(instructions), no_stack_protector))
#else
#define WITH(instructions) __attribute__((target(instructions), optimize("no-stack-protector")))
#endif

#if defined(__x86_64__)

/* gcc's own header takes one of its parts from a libc, which there need not be: without that part. */
#define _MM_MALLOC_H_INCLUDED
#include <cpuid.h>
#include <immintrin.h>

#define WITH_INSTRUCTIONS WITH("sha,sse4.1")

/* Intel, "Intel SHA Extensions", 2013.  The instructions want the state as two halves, ABEF and CDGH, the first letter in the
 * highest word.  A quad of rounds takes four words of the schedule, and makes those of 16 rounds later. */
WITH_INSTRUCTIONS static inline __m128i words_at(const uint32_t *at) {
    return _mm_loadu_si128((const __m128i *)(const void *)at);
}

WITH_INSTRUCTIONS static inline void keep_words(uint32_t *at, __m128i words) {
    _mm_storeu_si128((__m128i *)(void *)at, words);
}

/* Four words as the message has them: the highest byte first. */
WITH_INSTRUCTIONS static inline __m128i message_at(const uint8_t *at) {
    const __m128i order = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    return _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)at), order);
}

/* The words 16 to 19 behind those of `one`, of the 16 words in `one` to `four`. */
WITH_INSTRUCTIONS static inline __m128i next_words(__m128i one, __m128i two, __m128i three, __m128i four) {
    __m128i seven_before = _mm_alignr_epi8(four, three, 4);
    return _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(one, two), seven_before), four);
}

WITH_INSTRUCTIONS static void blocks_of_x86(uint32_t state[8], const uint8_t *blocks, size_t count) {
    __m128i badc = _mm_shuffle_epi32(words_at(state), 0xb1);
    __m128i efgh = _mm_shuffle_epi32(words_at(state + 4), 0x1b);
    __m128i abef = _mm_alignr_epi8(badc, efgh, 8);
    __m128i cdgh = _mm_blend_epi16(efgh, badc, 0xf0);
    for (; count > 0; count--, blocks += SHA_BLOCK_BYTES) {
        __m128i abef_before = abef, cdgh_before = cdgh, words[4];
        for (unsigned quad = 0; quad < 16; quad++) {
            __m128i *own = &words[quad % 4];
            *own = quad < 4 ? message_at(blocks + 16 * quad)
                            : next_words(*own, words[(quad + 1) % 4], words[(quad + 2) % 4], words[(quad + 3) % 4]);
            __m128i added = _mm_add_epi32(*own, words_at(sha_constants + 4 * quad));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, added);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(added, 0x0e));
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    __m128i feba = _mm_shuffle_epi32(abef, 0x1b);
    __m128i dchg = _mm_shuffle_epi32(cdgh, 0xb1);
    keep_words(state, _mm_blend_epi16(feba, dchg, 0xf0));
    keep_words(state + 4, _mm_alignr_epi8(dchg, feba, 8));
}

sha_blocks *sha_by_processor(void) {
    unsigned a, b, c, d;
    bool shuffles = __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_SSSE3) != 0 && (c & bit_SSE4_1) != 0;
    bool hashes = __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & bit_SHA) != 0;
    return shuffles && hashes ? blocks_of_x86 : NULL;
}

#elif defined(__aarch64__)

#include <arm_neon.h>

#define WITH_INSTRUCTIONS WITH("+crypto")
#define HAS_SHA2 (1ul << 6) /* HWCAP_SHA2 of <asm/hwcap.h> */

/* Arm Architecture Reference Manual, SHA256H: the state as two halves, ABCD and EFGH. */
WITH_INSTRUCTIONS static void blocks_of_arm(uint32_t state[8], const uint8_t *blocks, size_t count) {
    uint32x4_t abcd = vld1q_u32(state), efgh = vld1q_u32(state + 4);
    for (; count > 0; count--, blocks += SHA_BLOCK_BYTES) {
        uint32x4_t abcd_before = abcd, efgh_before = efgh, words[4];
        for (unsigned quad = 0; quad < 16; quad++) {
            uint32x4_t *own = &words[quad % 4], *next = &words[(quad + 1) % 4];
            if (quad < 4) {
                *own = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(blocks + 16 * quad)));
            } else {
                *own = vsha256su1q_u32(vsha256su0q_u32(*own, *next), words[(quad + 2) % 4], words[(quad + 3) % 4]);
            }
            uint32x4_t added = vaddq_u32(*own, vld1q_u32(sha_constants + 4 * quad)), abcd_now = abcd;
            abcd = vsha256hq_u32(abcd, efgh, added);
            efgh = vsha256h2q_u32(efgh, abcd_now, added);
        }
        abcd = vaddq_u32(abcd, abcd_before);
        efgh = vaddq_u32(efgh, efgh_before);
    }
    vst1q_u32(state, abcd);
    vst1q_u32(state + 4, efgh);
}

sha_blocks *sha_by_processor(void) {
    return (sys_hardware & HAS_SHA2) != 0 ? blocks_of_arm : NULL;
}

#else

sha_blocks *sha_by_processor(void) {
    return NULL;
}

#endif
