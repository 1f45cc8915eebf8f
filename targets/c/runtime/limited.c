/* Add the zero point and saturate to low..high. Signed numbers are shifted right arithmetically by GCC and clang. */
__attribute__((unused)) static inline int32_t sprue_limited(int32_t value, int32_t zero, int32_t low, int32_t high)
{
    const int32_t sum = value + zero;
    const int32_t floored = sum < low ? low : sum;
    return floored > high ? high : floored;
}
