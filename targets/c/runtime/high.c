/* The upper of two 16-bit numbers in a word, where plain C multiplies them. */
__attribute__((unused)) static inline int32_t sprue_high(uint32_t word)
{
    return (int32_t)(int16_t)(uint16_t)(word >> 16);
}
