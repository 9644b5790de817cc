#include "bits.h"

#include "failure.h"

static bits_source source;
static bool ended;

struct bits bits_begin(bits_source from) {
    source = from;
    ended = false;
    return (struct bits){0, 0, NULL, NULL};
}

bool bits_have_bytes(struct bits *bits) {
    if (bits->next < bits->end) {
        return true;
    }
    size_t size = ended ? 0 : source(&bits->next);
    bits->end = bits->next + size;
    ended = size == 0;
    if (ended && failure.code == 0) {
        fail(-EINVAL, "its archive ends too early", "runtime");
    }
    return !ended;
}

struct bits bits_with_bytes(struct bits bits) {
    while (bits.count < BITS_HELD && bits_have_bytes(&bits)) {
        bits.held |= (uint64_t)*bits.next++ << bits.count;
        bits.count += 8;
    }
    return bits;
}
