#include "prefixcode.h"

static uint32_t reversed(uint32_t code, unsigned length) {
    uint32_t other = 0;
    for (unsigned index = 0; index < length; index++) {
        other = other << 1 | (code >> index & 1);
    }
    return other;
}

/* At each place of a table by `bits` bits that begins with that code. */
static void fill(struct meaning *table, unsigned bits, uint32_t code, unsigned length, struct meaning meaning) {
    for (uint32_t at = code; at < 1u << bits; at += 1u << length) {
        table[at] = meaning;
    }
}

bool code_make(struct code *code, const uint8_t *bit_lengths, uint32_t symbols, code_meaning *meaning_of) {
    static const struct meaning none = {0, NO_CODE, 0};
    uint32_t count[CODE_BITS_MAX + 1] = {0}, next[CODE_BITS_MAX + 2], used = 1u << ROOT_BITS;
    for (uint32_t symbol = 0; symbol < symbols; symbol++) {
        count[bit_lengths[symbol]]++;
    }
    int32_t room = 1;
    next[1] = 0;
    for (unsigned length = 1; length <= CODE_BITS_MAX; length++) {
        room = room * 2 - (int32_t)count[length];
        if (room < 0) {
            return false;
        }
        next[length + 1] = (next[length] + count[length]) << 1;
    }
    fill(code->table, ROOT_BITS, 0, 0, none);
    for (uint32_t symbol = 0; symbol < symbols; symbol++) {
        unsigned length = bit_lengths[symbol];
        if (length == 0) {
            continue;
        }
        struct meaning found = meaning_of(symbol);
        found.bits = (uint8_t)length;
        uint32_t bits = reversed(next[length]++, length);
        if (length <= ROOT_BITS) {
            fill(code->table, ROOT_BITS, bits, length, found);
            continue;
        }
        struct meaning *root = &code->table[bits & ((1u << ROOT_BITS) - 1)];
        if (root->kind != LONGER) {
            *root = (struct meaning){(uint16_t)used, LONGER, 0};
            fill(code->table + used, REST_BITS, 0, 0, none);
            used += 1u << REST_BITS;
        }
        fill(code->table + root->value, REST_BITS, bits >> ROOT_BITS, length - ROOT_BITS, found);
    }
    return true;
}
