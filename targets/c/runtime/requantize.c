/* sum * m * 2^-31 * 2^-s of a `factor` m + s * 2^32: as TFLite multiplies by a quantized multiplier, rounding
   half up before the shift by s, and half away from zero after it. */
static inline int32_t sprue_requantize(int32_t sum, int64_t factor)
{
    const int64_t product = (int64_t)sum * (int32_t)(factor & 0x7fffffff);
    const int32_t shift = (int32_t)(factor >> 32);
    const int32_t high = (int32_t)((product + 0x40000000) >> 31);
    const int32_t mask = (int32_t)((1u << shift) - 1u);
    return (high >> shift) + ((high & mask) > (mask >> 1) + (high < 0));
}
