/* Two numbers of 16 bits at most as a word: on Arm PKHBT. */
static inline uint32_t sprue_couple(int32_t low, int32_t high)
{
#if defined(SPRUE_DSP)
    uint32_t pair;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(pair) : "r"(low), "r"(high));
    return pair;
#else
    return ((uint32_t)low & 0xffffu) | (uint32_t)high << 16;
#endif
}
