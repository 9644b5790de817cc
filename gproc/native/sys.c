/* System calls and the start of the program, for x86-64 and AArch64. */

#include "sys.h"

unsigned long sys_hardware;

#ifdef HOSTED

/* On a libc, as sanitizers and fuzzers need it: their headers and the kernel's do not go together. */
long syscall(long number, ...);
int clone(int (*body)(void *), void *top, int flags, void *argument, ...);
int *__errno_location(void);

long sys(long number, long a, long b, long c, long d, long e, long f) {
    long result = syscall(number, a, b, c, d, e, f);
    return result == -1 ? -*__errno_location() : result;
}

long sys_clone(unsigned long flags, int (*body)(void *), void *top, void *argument) {
    long child = clone(body, top, (int)flags, argument);
    return child == -1 ? -*__errno_location() : child;
}

_Noreturn void sys_exit(int status) {
    for (;;) {
        SYS1(exit_group, status);
    }
}

/* Nothing is ever allocated, and process 1 goes on in this memory when main() returns. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
    return "detect_leaks=0";
}

#else

int main(int argc, char **argv);

#if defined(__x86_64__)

long sys(long number, long a, long b, long c, long d, long e, long f) {
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

/* The kernel starts a program with argc at the stack's end and no return address. */
__asm__(".globl _start\n"
        ".type _start, @function\n"
        "_start:\n"
        "  xor %ebp, %ebp\n"
        "  mov %rsp, %rdi\n"
        "  and $-16, %rsp\n"
        "  call begin\n"
        "  hlt\n");

/* clone(flags, stack, body, argument); the child finds body and argument on its own stack. */
long clone_onto(unsigned long flags, void *top, int (*body)(void *), void *argument);
__asm__(".globl clone_onto\n"
        ".type clone_onto, @function\n"
        "clone_onto:\n"
        "  and $-16, %rsi\n"
        "  sub $16, %rsi\n"
        "  mov %rcx, (%rsi)\n"
        "  mov %rdx, 8(%rsi)\n"
        "  xor %edx, %edx\n"
        "  xor %r10d, %r10d\n"
        "  xor %r8d, %r8d\n"
        "  mov $56, %eax\n"
        "  syscall\n"
        "  test %rax, %rax\n"
        "  jz 1f\n"
        "  ret\n"
        "1: xor %ebp, %ebp\n"
        "  pop %rdi\n"
        "  pop %rax\n"
        "  call *%rax\n"
        "  mov %eax, %edi\n"
        "  mov $231, %eax\n"
        "  syscall\n"
        "  hlt\n");

#elif defined(__aarch64__)

long sys(long number, long a, long b, long c, long d, long e, long f) {
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
}

__asm__(".globl _start\n"
        ".type _start, %function\n"
        "_start:\n"
        "  mov x29, #0\n"
        "  mov x30, #0\n"
        "  mov x0, sp\n"
        "  bl begin\n"
        "  brk #1\n");

long clone_onto(unsigned long flags, void *top, int (*body)(void *), void *argument);
__asm__(".globl clone_onto\n"
        ".type clone_onto, %function\n"
        "clone_onto:\n"
        "  and x1, x1, #-16\n"
        "  stp x3, x2, [x1, #-16]!\n"
        "  mov x2, #0\n"
        "  mov x3, #0\n"
        "  mov x4, #0\n"
        "  mov x8, #220\n"
        "  svc #0\n"
        "  cbz x0, 1f\n"
        "  ret\n"
        "1: mov x29, #0\n"
        "  ldp x0, x1, [sp], #16\n"
        "  blr x1\n"
        "  mov x8, #94\n"
        "  svc #0\n"
        "  brk #1\n");

#else
#error "only x86-64 and AArch64 are known here"
#endif

long sys_clone(unsigned long flags, int (*body)(void *), void *top, void *argument) {
    return clone_onto(flags, top, body, argument);
}

_Noreturn void sys_exit(int status) {
    for (;;) {
        SYS1(exit_group, status);
    }
}

/* What -fstack-protector compares; the kernel gives each program 16 random bytes, getauxval(3). */
#define RANDOM_BYTES_AT 25
#define HARDWARE_AT 16
uintptr_t __stack_chk_guard = 0x595e9fbd94fda766;
_Noreturn void __stack_chk_fail(void);
_Noreturn void __stack_chk_fail(void) {
    __builtin_trap();
}

#if __has_attribute(no_stack_protector)
#define WITHOUT_GUARD __attribute__((no_stack_protector))
#else
#define WITHOUT_GUARD __attribute__((optimize("no-stack-protector")))
#endif

_Noreturn void begin(long *stack);
WITHOUT_GUARD _Noreturn void begin(long *stack) {
    int argc = (int)stack[0];
    char **argv = (char **)(stack + 1);
    long *at = stack + 1 + argc + 1;
    while (*at++ != 0) {
        continue;
    }
    for (; at[0] != 0; at += 2) {
        if (at[0] == HARDWARE_AT) {
            sys_hardware = (unsigned long)at[1];
        }
        if (at[0] == RANDOM_BYTES_AT) {
            memcpy(&__stack_chk_guard, (const void *)at[1], sizeof __stack_chk_guard);
            __stack_chk_guard &= ~(uintptr_t)0xff; /* a string that overflows stops at this NUL */
        }
    }
    sys_exit(main(argc, argv));
}

/* The compiler calls these for assignments and initialisers. */

void *memcpy(void *restrict to, const void *restrict from, size_t size) {
    char *next = to;
    const char *byte = from;
    for (; size >= sizeof(uint64_t); size -= sizeof(uint64_t)) {
        __builtin_memcpy(next, byte, sizeof(uint64_t)); /* of this size it is a load and a store */
        next += sizeof(uint64_t);
        byte += sizeof(uint64_t);
    }
    for (; size > 0; size--) {
        *next++ = *byte++;
    }
    return to;
}

void *memset(void *at, int byte, size_t size) {
    for (char *next = at; size > 0; size--) {
        *next++ = (char)byte;
    }
    return at;
}

int memcmp(const void *one, const void *other, size_t size) {
    const unsigned char *left = one, *right = other;
    for (; size > 0; size--, left++, right++) {
        if (*left != *right) {
            return *left - *right;
        }
    }
    return 0;
}

size_t strlen(const char *text) {
    const char *end = text;
    while (*end != 0) {
        end++;
    }
    return (size_t)(end - text);
}

#endif
