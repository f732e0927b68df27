// Preloaded into a program: its wall clock is SKEW_SECONDS off, every other clock is right.
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time) {
  long answer = syscall(SYS_clock_gettime, clock, time);
  const char *skew = getenv("SKEW_SECONDS");
  if (answer == 0 && clock == CLOCK_REALTIME && skew) {
    time->tv_sec += atol(skew);
  }
  return (int)answer;
}
