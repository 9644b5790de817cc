/* gproc's static helper.  Its only argument is what it is to be, or a format of plans, to ask whether it is ours. */

#include "bootstrap.h"
#include "init.h"
#include "plan.h"

#define WRONG_USAGE 2

static bool is(const char *word, const char *other) {
    size_t length = strlen(word);
    return length == strlen(other) && memcmp(word, other, length) == 0;
}

int main(int argc, char **argv) {
    if (argc == 2 && is(argv[1], "init")) {
        return init_run();
    }
    if (argc == 2 && (is(argv[1], PLAN_FORMAT) || is(argv[1], BOOTSTRAP_FORMAT))) {
        return 0;
    }
    if (argc == 3 && is(argv[1], "bootstrap")) {
        return bootstrap_run(argv[2], argv + argc + 1);
    }
    if (argc == 3 && is(argv[1], "idle")) {
        return bootstrap_look(argv[2]);
    }
    if (argc == 4 && is(argv[1], "stop")) {
        return bootstrap_stop(argv[2], argv[3]);
    }
    static const char words[] = "this is a part of gproc, which a slave starts: see `gproc s`\n";
    sys(__NR_write, 2, (long)words, sizeof words - 1, 0, 0, 0);
    return WRONG_USAGE;
}
