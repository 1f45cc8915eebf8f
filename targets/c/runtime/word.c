/* Four neighbouring bytes as one word. */
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "packed weights are little-endian"
#endif
static inline uint32_t sprue_word(const int8_t *four)
{
    uint32_t word;
    __builtin_memcpy(&word, four, sizeof word);
    return word;
}
