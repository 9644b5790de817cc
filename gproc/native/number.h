/* Numbers as text. */
#ifndef GPROC_NUMBER_H
#define GPROC_NUMBER_H

#include "sys.h"

#define DIGITS_MAX 10u

/* Write a number in decimal at `to`, without a NUL; how many digits it has. */
size_t number_write(char *to, uint32_t number);

#endif
