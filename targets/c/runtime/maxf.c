static inline float sprue_maxf(float a, float b)
{
    return a > b || a != a ? a : b;
}
