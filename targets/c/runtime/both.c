/* Two 8-bit numbers in one word, 16 bits apart: x0 + x1 * 2^16. */
static inline uint32_t sprue_both(int32_t first, int32_t second)
{
    return (uint32_t)first + ((uint32_t)second << 16);
}
