#include "answer.h"

#include "failure.h"
#include "number.h"

#define LINE_BYTES_MAX 240u

struct line {
    size_t used;
    char text[LINE_BYTES_MAX + 1];
};

static void append(struct line *line, const char *text) {
    for (; *text != 0 && line->used < LINE_BYTES_MAX; text++) {
        line->text[line->used++] = *text == '\n' || *text == '\t' ? ' ' : *text;
    }
}

static void say(struct line *line) {
    line->text[line->used++] = '\n';
    SYS3(write, 1, line->text, line->used);
}

void answer(const char *word, const char *detail) {
    struct line line = {0};
    append(&line, ANSWER);
    append(&line, word);
    if (detail[0] != 0) {
        append(&line, " ");
        append(&line, detail);
    }
    say(&line);
}

static int64_t told_s;

void doing(const char *what) {
    answer("doing", what);
    told_s = seconds();
}

void still_doing(const char *what) {
    if (seconds() != told_s) {
        doing(what);
    }
}

void answer_failed(void) {
    struct line line = {0};
    append(&line, ANSWER "failed ");
    line.used += number_write(line.text + line.used, (uint32_t)failure.code);
    append(&line, " ");
    append(&line, failure.words == NULL ? "-" : failure.words);
    append(&line, ": ");
    append(&line, failure.subject);
    say(&line);
}
