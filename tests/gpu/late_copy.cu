// Lets its dependents begin at once, and copies only then, after a while: a kernel launched to begin early, which does not wait
// for this one, reads what was there before, or overwrites what is still to be read.
extern "C" __global__ void late_copy(const uint4* source, uint4* target, unsigned int count, unsigned int microseconds) {
    asm volatile("griddepcontrol.launch_dependents;");
    unsigned long long begin, now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(begin));
    do {
        asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    } while (now - begin < 1000ull * microseconds);
    for (unsigned int i = threadIdx.x; i < count; i += blockDim.x) target[i] = source[i];
}
