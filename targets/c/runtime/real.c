/* The float that stands for a multiplier where that is negative. */
__attribute__((unused)) static inline float sprue_real(int32_t factor)
{
    const uint32_t bits = (uint32_t)factor & 0x7fffffffu;
    float real;
    __builtin_memcpy(&real, &bits, sizeof real);
    return real;
}
