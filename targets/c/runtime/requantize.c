/* sum * m * 2^-31 * 2^-s of a `factor` m + s * 2^32: as TFLite multiplies by a quantized multiplier, rounding
   half up before the shift by s, and half away from zero after it. Unused where vectors compute results. */
#if defined(__riscv_mul)
/* the upper word of a product with 2 * m, and the bit below it, which rounds; a negative half is less one */
__attribute__((unused)) static inline int32_t sprue_requantize(int32_t sum, int64_t factor)
{
    const int64_t product = sum * (int64_t)((uint32_t)factor << 1);
    const int32_t shift = (int32_t)(factor >> 32);
    const int32_t high = (int32_t)(product >> 32) + (int32_t)((uint32_t)product >> 31);
    return shift == 0 ? high : (((high + (high >> 31)) >> (shift - 1)) + 1) >> 1;
}
#else
__attribute__((unused)) static inline int32_t sprue_requantize(int32_t sum, int64_t factor)
{
    const int64_t product = (int64_t)sum * (int32_t)(factor & 0x7fffffff);
    const int32_t shift = (int32_t)(factor >> 32);
    const int32_t high = (int32_t)((product + 0x40000000) >> 31);
    const int32_t mask = (int32_t)((1u << shift) - 1u);
    return (high >> shift) + ((high & mask) > (mask >> 1) + (high < 0));
}
#endif
