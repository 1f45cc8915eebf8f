static inline float sprue_sigmoidf(float value)
{
    return 1.0f / (1.0f + sprue_expf(-value));
}
