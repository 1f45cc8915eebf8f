/* One instruction where the processor has it, otherwise four of Newton's steps. */
static inline float sprue_sqrtf(float value)
{
#if defined(__ARM_FP) || defined(__SSE2__) || defined(__aarch64__) || defined(__riscv_f)
    return __builtin_sqrtf(value);
#else
    if (!(value > 0.0f) || value > 3.40282347e38f) {
        return value < 0.0f ? __builtin_nanf("") : value;
    }
    const float scaled = value < 1.17549435e-38f ? value * 16777216.0f : value;
    uint32_t bits;
    __builtin_memcpy(&bits, &scaled, sizeof bits);
    bits = (bits >> 1) + 0x1fbd1df5u;
    float root;
    __builtin_memcpy(&root, &bits, sizeof root);
    for (int32_t i = 0; i < 4; ++i) {
        root = 0.5f * (root + scaled / root);
    }
    return value < 1.17549435e-38f ? root * 2.44140625e-4f : root;
#endif
}
