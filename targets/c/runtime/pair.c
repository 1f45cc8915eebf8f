/* Two neighbouring 16-bit numbers as one word, at any even address. */
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "packed weights are little-endian"
#endif
static inline uint32_t sprue_pair(const int16_t *pair)
{
    uint32_t word;
    __builtin_memcpy(&word, pair, sizeof word);
    return word;
}
