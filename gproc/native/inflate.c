#include "inflate.h"

#include "failure.h"

#define WINDOW_BYTES 32768u /* how far back a match may reach: RFC 1951, 2 */
#define BUFFER_BYTES (2 * WINDOW_BYTES)
#define BUFFER_MASK (BUFFER_BYTES - 1)
#define MATCH_BYTES_MAX 258u
_Static_assert(WINDOW_BYTES + MATCH_BYTES_MAX <= BUFFER_BYTES, "what was not given out yet is overwritten");

#define CODE_BITS_MAX 15u
#define LENGTH_CODES 286u
#define DISTANCE_CODES 30u
#define FIXED_LENGTH_CODES 288u
#define ORDER_CODES 19u
#define END_OF_BLOCK 256u

#define FAST_BITS 10u
#define NO_SYMBOL 0xffffu

/* Codes of up to FAST_BITS bits are found in one step; longer ones bit by bit, as RFC 1951 3.2.2 counts them. */
struct code {
    uint16_t fast[1u << FAST_BITS]; /* symbol << 4 | length; 0: none */
    uint16_t count[CODE_BITS_MAX + 1];
    uint16_t symbols[FIXED_LENGTH_CODES];
};

static struct {
    inflate_source source;
    inflate_sink sink;
    const uint8_t *next;
    size_t left;         /* of what `next` points to */
    uint64_t bits;       /* read, and not used yet; the lowest is next */
    unsigned bit_count;
    uint64_t made, given, most;
    bool broken;
    uint8_t buffer[BUFFER_BYTES];
} now;

static struct code lengths, distances;

static bool bad(const char *words) {
    if (!now.broken) {
        now.broken = true;
        fail(-EINVAL, words, "runtime");
    }
    return false;
}

/* 0 beyond the end; that is noted. */
static uint8_t next_byte(void) {
    if (now.left == 0 && !now.broken) {
        now.left = now.source(&now.next);
        if (now.left == 0) {
            if (failure.code == 0) {
                bad("its archive ends too early");
            }
            now.broken = true;
        }
    }
    if (now.broken) {
        return 0;
    }
    now.left--;
    return *now.next++;
}

static void need_bits(unsigned count) {
    if (now.bit_count >= count) {
        return;
    }
    /* As many whole bytes as there is room for, of those that are here. */
    for (; now.left > 0 && now.bit_count <= 56; now.left--, now.bit_count += 8) {
        now.bits |= (uint64_t)*now.next++ << now.bit_count;
    }
    while (now.bit_count < count) {
        now.bits |= (uint64_t)next_byte() << now.bit_count;
        now.bit_count += 8;
    }
}

static uint32_t take_bits(unsigned count) {
    need_bits(count);
    uint32_t taken = (uint32_t)(now.bits & ((1u << count) - 1));
    now.bits >>= count;
    now.bit_count -= count;
    return taken;
}

static bool give(void) {
    while (now.given < now.made) {
        size_t from = (size_t)(now.given & BUFFER_MASK);
        uint64_t size = now.made - now.given;
        if (size > BUFFER_BYTES - from) {
            size = BUFFER_BYTES - from;
        }
        if (!now.sink(now.buffer + from, (size_t)size)) {
            now.broken = true;
            return false;
        }
        now.given += size;
    }
    return true;
}

/* Whether there is room for one symbol's bytes, which are at most MATCH_BYTES_MAX.  What was given out stays in the buffer
 * as far as a match may reach. */
static bool have_room(void) {
    if (now.made - now.given < WINDOW_BYTES) {
        return true;
    }
    return now.made <= now.most ? give() : bad("it is longer than it may be");
}

static void put(uint8_t byte) {
    now.buffer[now.made++ & BUFFER_MASK] = byte;
}

static uint32_t reversed(uint32_t code, unsigned length) {
    uint32_t other = 0;
    for (unsigned index = 0; index < length; index++) {
        other = other << 1 | (code >> index & 1);
    }
    return other;
}

static void fill_fast(struct code *code, uint32_t bits, unsigned length, uint32_t symbol) {
    for (uint32_t at = reversed(bits, length); at < 1u << FAST_BITS; at += 1u << length) {
        code->fast[at] = (uint16_t)(symbol << 4 | length);
    }
}

/* RFC 1951 3.2.2.  A set of lengths that gives a code to more symbols than fit is refused; one that leaves codes unused is
 * not, and none of those is ever found. */
static bool make_code(struct code *code, const uint8_t *bit_lengths, uint32_t symbols) {
    uint16_t offsets[CODE_BITS_MAX + 2];
    uint32_t next[CODE_BITS_MAX + 2];
    memset(code->count, 0, sizeof code->count);
    memset(code->fast, 0, sizeof code->fast);
    for (uint32_t symbol = 0; symbol < symbols; symbol++) {
        code->count[bit_lengths[symbol]]++;
    }
    code->count[0] = 0;
    int32_t room = 1;
    offsets[1] = 0;
    next[1] = 0;
    for (unsigned length = 1; length <= CODE_BITS_MAX; length++) {
        room = room * 2 - code->count[length];
        if (room < 0) {
            return bad("its archive has an impossible code");
        }
        offsets[length + 1] = (uint16_t)(offsets[length] + code->count[length]);
        next[length + 1] = (next[length] + code->count[length]) << 1;
    }
    for (uint32_t symbol = 0; symbol < symbols; symbol++) {
        unsigned length = bit_lengths[symbol];
        if (length == 0) {
            continue;
        }
        code->symbols[offsets[length]++] = (uint16_t)symbol;
        if (length <= FAST_BITS) {
            fill_fast(code, next[length], length, symbol);
        }
        next[length]++;
    }
    return true;
}

static uint32_t slow_symbol(const struct code *code) {
    int32_t found = 0, first = 0, index = 0;
    for (unsigned length = 1; length <= CODE_BITS_MAX; length++) {
        found |= (int32_t)(now.bits >> (length - 1) & 1);
        int32_t count = code->count[length];
        if (found - count < first) {
            now.bits >>= length;
            now.bit_count -= length;
            return code->symbols[index + (found - first)];
        }
        index += count;
        first = (first + count) << 1;
        found <<= 1;
    }
    return NO_SYMBOL;
}

/* At the end of the archive it may look at bits that are not there; they are 0 and, if they are used, it is broken. */
static uint32_t next_symbol(const struct code *code) {
    need_bits(CODE_BITS_MAX);
    uint32_t entry = code->fast[now.bits & ((1u << FAST_BITS) - 1)];
    if (entry == 0) {
        return slow_symbol(code);
    }
    now.bits >>= entry & 15;
    now.bit_count -= entry & 15;
    return entry >> 4;
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

static bool copy_match(uint32_t symbol) {
    symbol -= END_OF_BLOCK + 1;
    if (symbol >= 29) {
        return bad("its archive has an unknown length");
    }
    uint32_t length = length_base[symbol] + take_bits(length_extra[symbol]);
    uint32_t code = next_symbol(&distances);
    if (code >= DISTANCE_CODES) {
        return bad("its archive has an unknown distance");
    }
    uint32_t distance = distance_base[code] + take_bits(distance_extra[code]);
    if (distance > now.made) {
        return bad("its archive reaches back before its beginning");
    }
    uint64_t made = now.made;
    for (; length > 0; length--, made++) {
        now.buffer[made & BUFFER_MASK] = now.buffer[(made - distance) & BUFFER_MASK];
    }
    now.made = made;
    return true;
}

static bool coded_block(void) {
    while (!now.broken) {
        uint32_t symbol = next_symbol(&lengths);
        if (symbol == END_OF_BLOCK) {
            return !now.broken;
        }
        if (symbol == NO_SYMBOL) {
            return bad("its archive has an unknown code");
        }
        if (!have_room()) {
            return false;
        }
        if (symbol < END_OF_BLOCK) {
            put((uint8_t)symbol);
        } else if (!copy_match(symbol)) {
            return false;
        }
    }
    return false;
}

static bool stored_block(void) {
    take_bits(now.bit_count % 8);
    uint32_t size = take_bits(16), check = take_bits(16);
    if (size != (check ^ 0xffff)) {
        return bad("its archive has a broken block");
    }
    for (; size > 0 && !now.broken; size--) {
        if (!have_room()) {
            return false;
        }
        put((uint8_t)take_bits(8));
    }
    return !now.broken;
}

static bool fixed_codes(void) {
    uint8_t bits[FIXED_LENGTH_CODES];
    for (uint32_t symbol = 0; symbol < FIXED_LENGTH_CODES; symbol++) {
        bits[symbol] = symbol < 144 ? 8 : symbol < 256 ? 9 : symbol < 280 ? 7 : 8;
    }
    if (!make_code(&lengths, bits, FIXED_LENGTH_CODES)) {
        return false;
    }
    memset(bits, 5, DISTANCE_CODES);
    return make_code(&distances, bits, DISTANCE_CODES);
}

/* The lengths of both codes, themselves coded; RFC 1951 3.2.7. */
static bool read_lengths(uint8_t *bits, uint32_t count) {
    uint32_t filled = 0;
    while (filled < count && !now.broken) {
        uint32_t symbol = next_symbol(&lengths);
        if (symbol < 16) {
            bits[filled++] = (uint8_t)symbol;
            continue;
        }
        if (symbol == NO_SYMBOL || (symbol == 16 && filled == 0)) {
            return bad("its archive has broken lengths");
        }
        uint8_t repeated = symbol == 16 ? bits[filled - 1] : 0;
        uint32_t times = symbol == 16 ? 3 + take_bits(2) : symbol == 17 ? 3 + take_bits(3) : 11 + take_bits(7);
        if (times > count - filled) {
            return bad("its archive has too many lengths");
        }
        memset(bits + filled, repeated, times);
        filled += times;
    }
    return !now.broken;
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
    if (!make_code(&lengths, bits, ORDER_CODES)) {
        return false;
    }
    memset(bits, 0, sizeof bits);
    if (!read_lengths(bits, length_count + distance_count)) {
        return false;
    }
    if (bits[END_OF_BLOCK] == 0) {
        return bad("its archive has a block without an end");
    }
    return make_code(&lengths, bits, length_count) && make_code(&distances, bits + length_count, distance_count);
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
        uint8_t byte = next_byte();
        if (index < sizeof magic && byte != magic[index]) {
            return bad("its archive is not compressed by gzip");
        }
    }
    return !now.broken;
}

bool inflate_gzip(inflate_source source, inflate_sink sink, uint64_t most) {
    bool last = false;
    memset(&now, 0, offsetof(__typeof__(now), buffer));
    now.source = source;
    now.sink = sink;
    now.most = most;
    if (!gzip_header()) {
        return false;
    }
    while (!last) {
        if (!next_block(&last)) {
            return false;
        }
    }
    if (now.made > now.most) {
        return bad("it is longer than it may be");
    }
    return !now.broken && give();
}
