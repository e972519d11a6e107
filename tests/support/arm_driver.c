/* Runs micro-kernels for `arm_code.Emulated`: reads a call, makes it, writes what it left.

   A call is four words (which kernel, how many arguments, a bit for each that is an address, bytes
   of memory), the arguments, and the memory, to whose beginning addresses are relative. The answer
   is how many results there are, room for four, and the memory. Memory ends where a page ends that
   nothing may touch, and so does a read or write beyond it. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define KERNEL(name) int64_t name(const int64_t *, int64_t *);
#include "kernels.inc"
#undef KERNEL

static int64_t (*const kernels[])(const int64_t *, int64_t *) = {
#define KERNEL(name) name,
#include "kernels.inc"
};

enum { PAGE = 65536, MOST_ARGUMENTS = 16, MOST_RESULTS = 4 };

static int get(void *to, size_t size) { return fread(to, 1, size, stdin) == size; }

int main(void)
{
    int64_t head[4];
    while (get(head, sizeof head)) {
        int64_t arguments[MOST_ARGUMENTS], results[MOST_RESULTS] = {0};
        size_t size = (size_t)head[3], aligned = (size + 63) / 64 * 64;
        size_t pages = (aligned + PAGE - 1) / PAGE * PAGE;
        if (head[1] > MOST_ARGUMENTS || !get(arguments, 8 * (size_t)head[1]))
            return 1;
        unsigned char *map = mmap(NULL, pages + PAGE, PROT_READ | PROT_WRITE,
                                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (map == MAP_FAILED || mprotect(map + pages, PAGE, PROT_NONE))
            return 2;
        unsigned char *memory = map + pages - aligned;
        if (!get(memory, size))
            return 3;
        for (int64_t i = 0; i < head[1]; i++)
            if (head[2] >> i & 1)
                arguments[i] += (int64_t)(uintptr_t)memory;
        int64_t count = kernels[head[0]](arguments, results);
        fwrite(&count, sizeof count, 1, stdout);
        fwrite(results, sizeof results, 1, stdout);
        fwrite(memory, 1, size, stdout);
        if (fflush(stdout) || munmap(map, pages + PAGE))
            return 4;
    }
    return 0;
}
