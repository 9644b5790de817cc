#include "failure.h"

struct failure failure;

void begin_stage(enum stage stage) {
    failure.stage = stage;
}

static size_t append(size_t used, const char *text) {
    for (; *text != 0 && used + 1 < SUBJECT_BYTES_MAX; text++) {
        failure.subject[used++] = *text;
    }
    failure.subject[used] = 0;
    return used;
}

bool fail(long result, const char *words, const char *subject) {
    failure.code = (int)-result;
    failure.words = words;
    append(0, subject);
    return false;
}

bool fail_below(long result, const char *words, const char *base, const char *name) {
    fail(result, words, base);
    append(append(strlen(failure.subject), "/"), name);
    return false;
}

bool for_want_of_room(void) {
    return failure.code == ENOSPC || failure.code == EDQUOT;
}
