/* A disk whose flush takes a millisecond longer: preloaded into the benchmark's own server. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>

int fdatasync(int file)
{
    static int (*real)(int);
    if (!real)
        real = (int (*)(int)) dlsym(RTLD_NEXT, "fdatasync");
    int result = real(file);
    usleep(1000);
    return result;
}
