/* A float32 as the bits of the nearest float16, ties to even; what is too large becomes infinite. */
static inline uint16_t sprue_to_half(float value)
{
    uint32_t bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    const uint32_t sign = (bits >> 16) & 0x8000u;
    bits &= 0x7fffffffu;
    if (bits >= 0x7f800000u) {
        return (uint16_t)(sign | 0x7c00u | (bits > 0x7f800000u ? 0x0200u : 0u));
    }
    if (bits >= 0x477ff000u) {
        return (uint16_t)(sign | 0x7c00u);
    }
    if (bits < 0x38800000u) {
        float size;
        __builtin_memcpy(&size, &bits, sizeof size);
        return (uint16_t)(sign | (uint32_t)sprue_round(size * 16777216.0f));
    }
    bits += 0x0fffu + ((bits >> 13) & 1u);
    return (uint16_t)(sign | ((bits - 0x38000000u) >> 13));
}
