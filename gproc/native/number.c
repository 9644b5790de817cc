#include "number.h"

size_t number_write(char *to, uint32_t number) {
    char digits[DIGITS_MAX];
    size_t count = 0, used = 0;
    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    while (count > 0) {
        to[used++] = digits[--count];
    }
    return used;
}
