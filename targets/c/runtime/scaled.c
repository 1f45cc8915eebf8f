/* The code of 256 times a sum: (factor * sum + centre * 2^32) >> (32 + shift), saturated to low..high. On Arm two
   instructions, SMMLA and SSAT. It is always inlined: their operands are constants. */
#if defined(SPRUE_DSP)
__attribute__((always_inline)) static inline int32_t sprue_scaled(int32_t sum, int32_t factor, int32_t centre, const int32_t shift, int32_t low, int32_t high)
{
    int32_t code;
    __asm__("smmla %0, %1, %2, %3" : "=r"(code) : "r"(sum), "r"(factor), "r"(centre));
    if (low == -128 && high == 127) {
        __asm__("ssat %0, #8, %1, asr %2" : "=r"(code) : "r"(code), "n"(shift));
        return code;
    }
    if (low == 0 && high == 255) {
        __asm__("usat %0, #8, %1, asr %2" : "=r"(code) : "r"(code), "n"(shift));
        return code;
    }
    code >>= shift;
    code = code < low ? low : code;
    return code > high ? high : code;
}
#else
static inline int32_t sprue_scaled(int32_t sum, int32_t factor, int32_t centre, int32_t shift, int32_t low, int32_t high)
{
    const int64_t product = (int64_t)sum * factor + (int64_t)centre * 4294967296;
    const int32_t code = (int32_t)(product >> 32) >> shift;
    const int32_t floored = code < low ? low : code;
    return floored > high ? high : floored;
}
#endif
