/* The bytes of packed weights in their order, where plain C multiplies them. */
#if !defined(SPRUE_DSP)
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "packed weights are little-endian"
#endif
static inline const int8_t *sprue_bytes(const uint32_t *words)
{
    return (const int8_t *)words;
}
#endif
