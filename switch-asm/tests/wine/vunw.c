/* Walks one step with RtlVirtualUnwind from each of the points in a file, and
 * compares what comes out with what the file says.
 *
 * The file has, per point, in little-endian words: begin, end and unwind of the
 * function's entry, counted from the image's base; where it stands, counted
 * from begin; whether that is in an epilogue; the handler, or 0; the frame
 * base; lengths of its code and of the unwind information; registers before
 * and after: 16 general ones, rip, 16 SSE ones of two words. Then its code and
 * the unwind information.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

#define IMAGE 0x180000000ull
#define IMAGE_LEN 0x20000
#define XDATA 0x8000
#define STACK 0x200000000ull
#define WORDS (1ull << 20)

struct registers {
    uint64_t gprs[16];
    uint64_t rip;
    uint64_t xmms[16][2];
};

struct point {
    uint64_t begin, end, unwind, pc, in_epilogue, handler;
    uint64_t frame_base, code_len, xdata_len;
    struct registers before, after;
};

static const char *const names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                    "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

/* The compiler takes an index past a member for a mistake of ours, and may do anything then. */
static const size_t offsets[] = {
    offsetof(CONTEXT, Rax), offsetof(CONTEXT, Rcx), offsetof(CONTEXT, Rdx), offsetof(CONTEXT, Rbx),
    offsetof(CONTEXT, Rsp), offsetof(CONTEXT, Rbp), offsetof(CONTEXT, Rsi), offsetof(CONTEXT, Rdi),
    offsetof(CONTEXT, R8),  offsetof(CONTEXT, R9),  offsetof(CONTEXT, R10), offsetof(CONTEXT, R11),
    offsetof(CONTEXT, R12), offsetof(CONTEXT, R13), offsetof(CONTEXT, R14), offsetof(CONTEXT, R15)};

static uint64_t *gpr(CONTEXT *context, int number)
{
    return (uint64_t *)((char *)context + offsets[number]);
}

static uint64_t *xmm(CONTEXT *context, int number)
{
    return (uint64_t *)((char *)context + offsetof(CONTEXT, Xmm0) + 16 * number);
}

static unsigned wrong;

static void compare(unsigned index, const char *what, uint64_t found, uint64_t expected)
{
    if (found == expected)
        return;
    if (wrong++ < 20)
        printf("point %u: %s is %#llx here, not %#llx\n", index, what, (unsigned long long)found,
               (unsigned long long)expected);
}

static void *reserve(uint64_t address, size_t len)
{
    void *found = VirtualAlloc((void *)address, len, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    if (found != (void *)address) {
        printf("no memory at %#llx\n", (unsigned long long)address);
        exit(2);
    }
    return found;
}

static void step(unsigned index, const struct point *point)
{
    static CONTEXT context;
    memset(&context, 0, sizeof context);
    context.ContextFlags = CONTEXT_FULL;
    for (int number = 0; number < 16; number++) {
        *gpr(&context, number) = point->before.gprs[number];
        memcpy(xmm(&context, number), point->before.xmms[number], 16);
    }
    RUNTIME_FUNCTION entry = {(DWORD)point->begin, (DWORD)point->end, (DWORD)point->unwind};
    context.Rip = IMAGE + point->begin + point->pc;
    void *data = NULL;
    ULONG64 frame = 0;
    PEXCEPTION_ROUTINE handler = RtlVirtualUnwind(UNW_FLAG_EHANDLER | UNW_FLAG_UHANDLER, IMAGE, context.Rip, &entry,
                                                  &context, &data, &frame, NULL);

    char name[32];
    for (int number = 0; number < 16; number++) {
        compare(index, names[number], *gpr(&context, number), point->after.gprs[number]);
        for (int half = 0; half < 2; half++) {
            snprintf(name, sizeof name, "xmm%d, half %d,", number, half);
            compare(index, name, xmm(&context, number)[half], point->after.xmms[number][half]);
        }
    }
    compare(index, "rip", context.Rip, point->after.rip);
    uint64_t address = (uint64_t)(uintptr_t)handler;
    compare(index, "the handler", address == 0 ? 0 : address - IMAGE, point->handler);
    /* In an epilogue there is none to speak of. */
    if (!point->in_epilogue)
        compare(index, "the frame base", frame, point->frame_base);
}

int main(int argc, char **argv)
{
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
    if (file == NULL) {
        printf("usage: vunw FILE\n");
        return 2;
    }
    reserve(IMAGE, IMAGE_LEN);
    uint64_t *stack = reserve(STACK, WORDS * 8);
    for (uint64_t index = 0; index < WORDS; index++)
        stack[index] = STACK + 8 * (index * 0x37b15 + 0x1234) % (8 * WORDS);

    struct point point;
    unsigned count = 0;
    while (fread(&point, sizeof point, 1, file) == 1) {
        if (point.code_len > XDATA - 0x3000 || point.begin + point.code_len > XDATA ||
            point.xdata_len > IMAGE_LEN - XDATA ||
            fread((char *)IMAGE + point.begin, 1, point.code_len, file) != point.code_len ||
            fread((char *)IMAGE + XDATA, 1, point.xdata_len, file) != point.xdata_len) {
            printf("point %u is cut off\n", count);
            return 2;
        }
        step(count++, &point);
    }
    if (wrong != 0) {
        printf("%u registers differ, in %u points\n", wrong, count);
        return 1;
    }
    printf("%u points agree\n", count);
    return 0;
}
