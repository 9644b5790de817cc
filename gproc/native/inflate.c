#include "inflate.h"

#include "failure.h"
#include "prefixcode.h"

#define WINDOW_BYTES 32768u /* how far back a match may reach: RFC 1951, 2 */
#define MATCH_BYTES_MAX 258u
#define WORD_BYTES 8u /* in which matches are copied: the last may go beyond the end of one */
#define LITERALS_MAX 2u
#define SYMBOL_ROOM (LITERALS_MAX + MATCH_BYTES_MAX + WORD_BYTES)
#define BUFFER_BYTES (8 * WINDOW_BYTES) /* the larger, the fewer calls of the sink */
_Static_assert(2 * WINDOW_BYTES + SYMBOL_ROOM <= BUFFER_BYTES, "the window cannot be moved to the beginning in one piece");

#define LENGTH_CODES 286u
#define DISTANCE_CODES 30u
#define ORDER_CODES 19u
#define END_OF_BLOCK 256u

static struct {
    inflate_sink sink;
    struct bits in;
    uint8_t *at;    /* where the next byte is made, in `buffer` */
    uint8_t *given; /* up to here the sink has it */
    uint64_t made, most;
    uint8_t buffer[BUFFER_BYTES];
} now;

static struct code lengths, distances;

/* What was wrong first is said. */
static bool bad(const char *words) {
    return failure.code == 0 && fail(-EINVAL, words, "runtime");
}

/* 0 if there are no more; `failure` says so then. */
static uint32_t take_bits(unsigned count) {
    return now.in.count >= count || bits_refill(&now.in) ? bits_take(&now.in, count) : 0;
}

static bool give(void) {
    size_t size = (size_t)(now.at - now.given);
    now.made += size;
    if (now.made > now.most) {
        return bad("it is longer than it may be");
    }
    const uint8_t *from = now.given;
    now.given = now.at;
    return now.sink(from, size);
}

/* Whether there is room for a symbol. */
static bool have_room(void) {
    if (now.at <= now.buffer + BUFFER_BYTES - SYMBOL_ROOM) {
        return true;
    }
    if (!give()) {
        return false;
    }
    memcpy(now.buffer, now.at - WINDOW_BYTES, WINDOW_BYTES);
    now.at = now.given = now.buffer + WINDOW_BYTES;
    return true;
}

/* RFC 1951 3.2.5. */
static const uint16_t length_base[29] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                         31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
static const uint8_t length_extra[29] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                         2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
static const uint16_t distance_base[30] = {1,   2,   3,   4,   5,   7,    9,    13,   17,   25,   33,   49,   65,    97,    129,
                                           193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
static const uint8_t distance_extra[30] = {0, 0, 0, 0, 1, 1, 2, 2,  3,  3,  4,  4,  5,  5,  6,
                                           6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13};

static struct meaning meaning_of_length(uint32_t symbol) {
    if (symbol < END_OF_BLOCK) {
        return (struct meaning){(uint16_t)symbol, LITERAL, 0};
    }
    if (symbol == END_OF_BLOCK || symbol >= LENGTH_CODES) {
        return (struct meaning){0, symbol == END_OF_BLOCK ? END : NO_CODE, 0};
    }
    symbol -= END_OF_BLOCK + 1;
    return (struct meaning){length_base[symbol], length_extra[symbol], 0};
}

static struct meaning meaning_of_distance(uint32_t symbol) {
    return (struct meaning){distance_base[symbol], distance_extra[symbol], 0};
}

static struct meaning meaning_of_itself(uint32_t symbol) {
    return (struct meaning){(uint16_t)symbol, LITERAL, 0};
}

static inline void copy_word(uint8_t *to, const uint8_t *from) {
    __builtin_memcpy(to, from, WORD_BYTES);
}

/* Up to WORD_BYTES - 1 bytes behind it are overwritten too. */
static inline void copy_match(uint8_t *to, size_t distance, size_t length) {
    const uint8_t *from = to - distance, *end = to + length;
    if (distance >= WORD_BYTES) {
        for (; to < end; to += WORD_BYTES, from += WORD_BYTES) {
            copy_word(to, from);
        }
    } else if (distance == 1) {
        uint64_t word = *from * 0x0101010101010101ull;
        for (; to < end; to += WORD_BYTES) {
            __builtin_memcpy(to, &word, WORD_BYTES);
        }
    } else {
        while (to < end) {
            *to++ = *from++;
        }
    }
}

/* As many symbols as there is room for.  Each pair of a length and a distance has its bits by one refill, and so have up to
 * LITERALS_MAX literals and the length behind them. */
static bool symbols(bool *ended) {
    struct bits in = now.in;
    uint8_t *at = now.at;
    while (at <= now.buffer + BUFFER_BYTES - SYMBOL_ROOM) {
        if (!bits_refill(&in)) {
            return false;
        }
        struct meaning found = code_take(&lengths, &in);
        if (found.kind == LITERAL) {
            *at++ = (uint8_t)found.value;
            found = code_take(&lengths, &in);
            if (found.kind == LITERAL) {
                *at++ = (uint8_t)found.value;
                continue;
            }
            if (!bits_refill(&in)) {
                return false;
            }
        }
        if (found.kind > MORE_BITS_MAX) {
            *ended = found.kind == END;
            if (!*ended) {
                return bad("its archive has an unknown code");
            }
            break;
        }
        size_t length = found.value + bits_take(&in, found.kind);
        found = code_take(&distances, &in);
        if (found.kind > MORE_BITS_MAX) {
            return bad("its archive has an unknown distance");
        }
        size_t distance = found.value + bits_take(&in, found.kind);
        if (distance > (size_t)(at - now.buffer)) {
            return bad("its archive reaches back before its beginning");
        }
        copy_match(at, distance, length);
        at += length;
    }
    now.in = in;
    now.at = at;
    return true;
}

static bool coded_block(void) {
    bool ended = false;
    while (!ended) {
        if (!have_room() || !symbols(&ended)) {
            return false;
        }
    }
    return true;
}

static size_t smaller(size_t one, size_t other) {
    return one < other ? one : other;
}

static bool stored_block(void) {
    take_bits(now.in.count % 8);
    uint32_t size = take_bits(16), check = take_bits(16);
    if (size != (check ^ 0xffff)) {
        return bad("its archive has a broken block");
    }
    while (size > 0) {
        if (!have_room() || (now.in.count == 0 && !bits_have_bytes(&now.in))) {
            return false;
        }
        if (now.in.count > 0) {
            *now.at++ = (uint8_t)take_bits(8);
            size--;
            continue;
        }
        size_t room = (size_t)(now.buffer + BUFFER_BYTES - now.at);
        size_t part = smaller(smaller(size, room), (size_t)(now.in.end - now.in.next));
        memcpy(now.at, now.in.next, part);
        now.at += part;
        now.in.next += part;
        now.in.held = 0; /* they are used */
        size -= (uint32_t)part;
    }
    return true;
}

static bool make_code(struct code *code, const uint8_t *bit_lengths, uint32_t symbols, code_meaning *meaning_of) {
    return code_make(code, bit_lengths, symbols, meaning_of) || bad("its archive has an impossible code");
}

static bool fixed_codes(void) {
    uint8_t bits[CODE_SYMBOLS_MAX];
    for (uint32_t symbol = 0; symbol < CODE_SYMBOLS_MAX; symbol++) {
        bits[symbol] = symbol < 144 ? 8 : symbol < 256 ? 9 : symbol < 280 ? 7 : 8;
    }
    if (!make_code(&lengths, bits, CODE_SYMBOLS_MAX, meaning_of_length)) {
        return false;
    }
    memset(bits, 5, DISTANCE_CODES);
    return make_code(&distances, bits, DISTANCE_CODES, meaning_of_distance);
}

/* The lengths of both codes, themselves coded; RFC 1951 3.2.7. */
static bool read_lengths(uint8_t *bits, uint32_t count) {
    uint32_t filled = 0;
    while (filled < count) {
        if (!bits_refill(&now.in)) {
            return false;
        }
        struct meaning found = code_take(&lengths, &now.in);
        if (found.kind == LITERAL && found.value < 16) {
            bits[filled++] = (uint8_t)found.value;
            continue;
        }
        if (found.kind != LITERAL || (found.value == 16 && filled == 0)) {
            return bad("its archive has broken lengths");
        }
        uint8_t repeated = found.value == 16 ? bits[filled - 1] : 0;
        uint32_t times = found.value == 16 ? 3 + take_bits(2) : found.value == 17 ? 3 + take_bits(3) : 11 + take_bits(7);
        if (times > count - filled) {
            return bad("its archive has too many lengths");
        }
        memset(bits + filled, repeated, times);
        filled += times;
    }
    return true;
}

static bool dynamic_codes(void) {
    static const uint8_t order[ORDER_CODES] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    uint8_t bits[LENGTH_CODES + DISTANCE_CODES + 4] = {0};
    uint32_t length_count = 257 + take_bits(5), distance_count = 1 + take_bits(5), count = 4 + take_bits(4);
    if (length_count > LENGTH_CODES || distance_count > DISTANCE_CODES) {
        return bad("its archive has too many codes");
    }
    for (uint32_t index = 0; index < count; index++) {
        bits[order[index]] = (uint8_t)take_bits(3);
    }
    if (!make_code(&lengths, bits, ORDER_CODES, meaning_of_itself)) {
        return false;
    }
    memset(bits, 0, sizeof bits);
    if (!read_lengths(bits, length_count + distance_count)) {
        return false;
    }
    if (bits[END_OF_BLOCK] == 0) {
        return bad("its archive has a block without an end");
    }
    return make_code(&lengths, bits, length_count, meaning_of_length) &&
           make_code(&distances, bits + length_count, distance_count, meaning_of_distance);
}

static bool next_block(bool *last) {
    *last = take_bits(1) == 1;
    switch (take_bits(2)) {
    case 0:
        return stored_block();
    case 1:
        return fixed_codes() && coded_block();
    case 2:
        return dynamic_codes() && coded_block();
    default:
        return bad("its archive has an unknown block");
    }
}

/* RFC 1952 2.3: of the fields that may follow none is used. */
static bool gzip_header(void) {
    static const uint8_t magic[4] = {0x1f, 0x8b, 8, 0};
    for (unsigned index = 0; index < 10; index++) {
        uint8_t byte = (uint8_t)take_bits(8);
        if (index < sizeof magic && byte != magic[index]) {
            return bad("its archive is not compressed by gzip");
        }
    }
    return true;
}

bool inflate_gzip(bits_source source, inflate_sink sink, uint64_t most) {
    bool last = false;
    memset(&now, 0, offsetof(__typeof__(now), buffer));
    now.in = bits_begin(source);
    now.sink = sink;
    now.most = most;
    now.at = now.given = now.buffer;
    if (!gzip_header()) {
        return false;
    }
    while (!last) {
        if (!next_block(&last)) {
            return false;
        }
    }
    return give();
}
