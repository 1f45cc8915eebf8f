/* The code of 256 times a sum: (factor * sum + centre * 2^32) >> (32 + shift), saturated to low..high. In plain C;
   instructions have their own. */
__attribute__((unused)) static inline int32_t sprue_scaled(int32_t sum, int32_t factor, int32_t centre, int32_t shift, int32_t low, int32_t high)
{
    const int64_t product = (int64_t)sum * factor + (int64_t)centre * 4294967296;
    const int32_t code = (int32_t)(product >> 32) >> shift;
    const int32_t floored = code < low ? low : code;
    return floored > high ? high : floored;
}
