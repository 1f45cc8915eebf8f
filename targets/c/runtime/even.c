/* Bytes 0 and 2 of a word as two 16-bit numbers with their signs: on Arm SXTB16. */
#if defined(SPRUE_DSP)
static inline uint32_t sprue_even(uint32_t word)
{
    uint32_t pair;
    __asm__("sxtb16 %0, %1" : "=r"(pair) : "r"(word));
    return pair;
}
#else
static inline uint32_t sprue_even(uint32_t word)
{
    const int32_t low = (int8_t)(uint8_t)word, high = (int8_t)(uint8_t)(word >> 16);
    return ((uint32_t)low & 0xffffu) | (uint32_t)high << 16;
}
#endif
