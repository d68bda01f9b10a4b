from django.urls import URLPattern, URLResolver

app_name = "scoping"
urlpatterns: list[URLPattern | URLResolver] = []
