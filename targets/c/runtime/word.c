/* Two neighbouring 16-bit numbers as one word; the first must lie on a multiple of 4 bytes. */
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "packed weights are little-endian"
#endif
static inline uint32_t sprue_word(const int16_t *pair)
{
    uint32_t word;
    __builtin_memcpy(&word, __builtin_assume_aligned(pair, 4), sizeof word);
    return word;
}
