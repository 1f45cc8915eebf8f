/* value * factor + sum: fused where the processor can, so that results do not hang on compiler flags. */
static inline float sprue_fma(float value, float factor, float sum)
{
#if defined(__ARM_FEATURE_FMA) || defined(__FMA__) || defined(__riscv_flen)
    return __builtin_fmaf(value, factor, sum);
#else
    return value * factor + sum;
#endif
}
