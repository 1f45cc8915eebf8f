/* The bits of a float16 as a float32: exact. */
static inline float sprue_from_half(uint16_t half)
{
    const uint32_t sign = ((uint32_t)half & 0x8000u) << 16;
    const uint32_t size = (uint32_t)half & 0x7fffu;
    uint32_t bits;
    float made;
    if (size >= 0x7c00u) {
        bits = sign | 0x7f800000u | (size & 0x3ffu) << 13;
    } else if (size >= 0x0400u) {
        bits = sign | ((size << 13) + 0x38000000u);
    } else {
        made = (float)size * 5.9604644775390625e-8f;
        __builtin_memcpy(&bits, &made, sizeof bits);
        bits |= sign;
    }
    __builtin_memcpy(&made, &bits, sizeof made);
    return made;
}
